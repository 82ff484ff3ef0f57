"""The settings of training an aligner: what all of them share, and the small aligner's own."""

import chz

from tubelet.aligners.learned import Shape
from tubelet.errors import RecipeError


@chz.chz
class Lesson:
    """What all aligners share that are trained on a corpus's own pairs."""

    sources: tuple[str, ...] = chz.field(default=(), doc="caption sources that are used (none given: all)")
    steps: int = chz.field(default=500, doc="optimiser steps, at most")
    batch: int = chz.field(default=64, doc="frames (and captions) of a step")
    frames: int = chz.field(default=4, doc="frames decoded of every video, evenly spread")
    most_frames: int = chz.field(default=8192, doc="frames held in memory; videos beyond that are left out by lot")
    lr: float = chz.field(default=1e-5, doc="peak learning rate of AdamW")
    weight_decay: float = chz.field(default=0.02, doc="of AdamW")
    sharpness: float = chz.field(default=8.0, doc="of the smooth maximum over patches: 0 is their mean")
    hardness: float = chz.field(default=0.0, doc="how much more a negative counts the likelier it is; 0: all alike")
    patience: int = chz.field(
        default=0, doc="looks at held-out pairs without a better one after which training stops (0: never)"
    )
    every: int = chz.field(default=20, doc="steps between two looks")
    held: float = chz.field(default=0.1, doc="share of the train videos, whole groups, that are held out for that")
    seed: int = chz.field(default=0, doc="seed of all draws")

    @property
    def side(self) -> int:
        """Pixels of a frame's short side."""
        raise NotImplementedError

    @chz.validate
    def _sizes(self) -> None:
        least = {"steps": 1, "batch": 2, "frames": 1, "most_frames": 2, "every": 1, "patience": 0, "hardness": 0}
        for name, at_least in least.items():
            if getattr(self, name) < at_least:
                raise RecipeError(f"--{name.replace('_', '-')} must be at least {at_least}, not {getattr(self, name)}")
        if self.lr <= 0:
            raise RecipeError(f"--lr must be positive, not {self.lr}")
        if not 0 < self.held < 1:
            raise RecipeError(f"--held must lie between 0 and 1, not {self.held}")


@chz.chz
class Alignment(Lesson):
    """How the small aligner is trained."""

    shape: Shape = chz.field(default_factory=Shape, doc="sizes of the towers")
    steps: int = chz.field(
        default=120,
        doc="optimiser steps; longer retrieves better and localises worse: patches beside a thing come to name it",
    )
    most_frames: int = chz.field(default=16384, doc="frames held in memory; videos beyond that are left out by lot")
    lr: float = chz.field(default=3e-3, doc="peak learning rate of AdamW")
    word_dropout: float = chz.field(default=0.1, doc="share of words read by their letters alone")

    @property
    def side(self) -> int:
        return self.shape.side
