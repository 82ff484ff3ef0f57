"""How an aligner is trained: the fields that all trainings share, those of the small aligner, and those of CLIP."""

import math

import chz

from tubelet.errors import RecipeError

STRIDE = 8  # pixels of the resized frame per cell of the grid


def side_of(size: int) -> int:
    """Pixels of the frames that are kept in memory for a model of this size."""
    return math.ceil(size / STRIDE) * STRIDE


@chz.chz
class Shape:
    """The sizes of an aligner."""

    side: int = chz.field(default=96, doc="frames are resized to this short side, in pixels")
    width: int = chz.field(default=64, doc="channels of the image tower")
    depth: int = chz.field(default=2, doc="blocks of the image tower")
    text_width: int = chz.field(default=96, doc="width of the text tower")
    joint: int = chz.field(default=64, doc="width of the space that images and texts share")


@chz.chz
class AlignerTraining:
    """How an image-text aligner is trained on the frames and captions of a corpus."""

    sources: tuple[str, ...] = chz.field(default=(), doc="caption sources to use, by commas (none given: all)")
    steps: int = chz.field(default=500, doc="optimiser steps, at most")
    batch: int = chz.field(default=64, doc="frames (and captions) of a step")
    frames: int = chz.field(default=4, doc="frames decoded from every video, evenly spaced")
    max_frames: int = chz.field(default=8192, doc="frames held in memory; further videos are dropped at random")
    lr: float = chz.field(default=1e-5, doc="peak learning rate of AdamW")
    weight_decay: float = chz.field(default=0.02, doc="weight decay of AdamW")
    sharpness: float = chz.field(default=8.0, doc="of the smooth maximum over patches; 0 is the mean")
    hardness: float = chz.field(default=0.0, doc="hard-negative weighting exp(hardness * score); 0 weights all alike")
    patience: int = chz.field(
        default=0, doc="early stopping: evaluations without a lower validation loss before training stops (0: off)"
    )
    eval_every: int = chz.field(default=20, doc="with patience: steps between two evaluations")
    val_fraction: float = chz.field(default=0.1, doc="with patience: share of the train groups held out for validation")
    seed: int = chz.field(default=0, doc="random seed")

    @property
    def side(self) -> int:
        """Pixels of a frame's short side."""
        raise NotImplementedError

    @chz.validate
    def _sizes(self) -> None:
        least = {"steps": 1, "batch": 2, "frames": 1, "max_frames": 2, "eval_every": 1, "patience": 0, "hardness": 0}
        for name, at_least in least.items():
            if getattr(self, name) < at_least:
                raise RecipeError(f"{name} must be at least {at_least}, not {getattr(self, name)}")
        if self.lr <= 0:
            raise RecipeError(f"lr must be positive, not {self.lr}")
        if not 0 < self.val_fraction < 1:
            raise RecipeError(f"val_fraction must lie between 0 and 1, not {self.val_fraction}")


@chz.chz
class SmallAlignerTraining(AlignerTraining):
    """Train the small aligner from random weights."""

    shape: Shape = chz.field(default_factory=Shape, doc="sizes of the towers")
    steps: int = chz.field(
        default=120,
        doc="optimiser steps; more retrieve better but localise worse: patches next to a thing come to match its name",
    )
    max_frames: int = chz.field(default=16384, doc="frames held in memory; further videos are dropped at random")
    lr: float = chz.field(default=3e-3, doc="peak learning rate of AdamW")
    word_dropout: float = chz.field(default=0.1, doc="share of words read from their letters alone")

    @property
    def side(self) -> int:
        return self.shape.side


@chz.chz
class ClipFinetuning(AlignerTraining):
    """Fine-tune a CLIP or SigLIP."""

    model: str = chz.field(doc="hub name or local folder of a CLIP or SigLIP of transformers")
    size: int = chz.field(default=224, doc="pixels of its square input; set from the checkpoint")
    blocks: int | None = chz.field(
        default=None, doc="number of last blocks of both towers to train, with the layers after them (none given: all)"
    )

    @property
    def side(self) -> int:
        return side_of(self.size)

    @chz.validate
    def _blocks(self) -> None:
        if self.blocks is not None and self.blocks < 0:
            raise RecipeError(f"blocks cannot be negative, not {self.blocks}")


@chz.chz
class LitTraining(AlignerTraining):
    """Learn two small projections between the features of a frozen vision and a frozen text model."""

    image: str = chz.field(doc="vision model: hub name or local folder of transformers, or a run of tubelet")
    text: str = chz.field(doc="text model: hub name or local folder of transformers")
    size: int = chz.field(default=224, doc="short side, in pixels, at which the vision model sees frames")
    joint: int = chz.field(default=64, doc="width of the space that images and texts share")
    hidden: int = chz.field(default=256, doc="hidden width of the projections")
    steps: int = chz.field(default=100, doc="optimiser steps; more retrieve no better and localise worse")
    max_frames: int = chz.field(
        default=2048, doc="frames whose features are kept; further videos are dropped at random"
    )
    lr: float = chz.field(default=1e-3, doc="peak learning rate of AdamW")

    @property
    def side(self) -> int:
        return side_of(self.size)

    @chz.validate
    def _towers(self) -> None:
        for name in ("size", "joint", "hidden"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} must be at least 1, not {getattr(self, name)}")
