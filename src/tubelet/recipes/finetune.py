"""What fine-tuning is, as one typed value. A recipe of fine-tuning is a function of the pretraining it begins with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import chz

from tubelet.config import override
from tubelet.errors import RecipeError
from tubelet.evaluations.folds import DOC, CrossValidation, refuse_bad
from tubelet.evaluations.selection import MEASURE_DOC, Measure
from tubelet.loading.data import Data
from tubelet.loading.finetune_augment import FinetuneAugment
from tubelet.loading.mix import Mix
from tubelet.loading.randaugment import RandAugment
from tubelet.models import Classifier, Vit
from tubelet.optim import LayerDecay, Optim
from tubelet.recipes.find import find
from tubelet.recipes.pretrain import Pretrain
from tubelet.tasks import Classification
from tubelet.train import Training
from tubelet.types import Clip
from tubelet.video.views import parse


@chz.chz
class Finetune(Training):
    """Clip, data, model, augmentation, selection and loop of fine-tuning a whole encoder to labels."""

    init: str = chz.field(default="", doc="the run whose encoder is fine-tuned")
    scratch: bool = chz.field(default=False, doc="the same encoder with fresh weights: the baseline")
    labels_share: float = chz.field(default=1.0, doc="share of train's labelled groups that is used, of every class")
    held_out: float = chz.field(
        default=0.25, doc="share of these groups that selects learning rate and step; 0: none, for a single rate"
    )
    rates: tuple[float, ...] = chz.field(
        default=(), doc="values of optim.base_lr that are tried; the best on the held-out part is kept"
    )
    refit: bool = chz.field(
        default=False, doc="after the selection train once more, on all of these groups, at the selected rate and step"
    )
    evaluate_every: int = chz.field(
        default=0, doc="steps between two measurements on the held-out part; 0: a tenth of the run"
    )
    clip: Clip = chz.field(default_factory=Clip, doc="the size of a clip, as in pretraining")
    data: Data = chz.field(
        default_factory=lambda: Data(augment=FinetuneAugment()), doc="how clips are read and augmented"
    )
    encoder: Vit = chz.field(default_factory=Vit, doc="the size of the encoder, as in pretraining")
    drop_path: float = chz.field(default=0.1, doc="share of clips for which the last block is left out")
    head_scale: float = chz.field(default=1e-3, doc="of the head's first weights")
    mix: Mix = chz.field(default_factory=Mix, doc="mixup, CutMix and label smoothing")
    average: float | None = chz.field(default=None, doc="decay of a running average of the weights, as .9999")
    optim: Optim = chz.field(default_factory=LayerDecay, doc="optimizer and learning rate")
    views: str = chz.field(default="5x3", doc="pieces x squares of a test video whose probabilities are averaged")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")
    cv: CrossValidation = chz.field(default=None, doc=f"the training once more for each fold: {DOC}")
    measure: Measure = chz.field(default="auto", doc=MEASURE_DOC)

    @chz.validate
    def _cv(self) -> None:
        refuse_bad(self.cv, "cv")

    @chz.validate
    def _shares(self) -> None:
        if not 0 < self.labels_share <= 1 or not 0 <= self.held_out < 1:
            raise RecipeError(
                f"labels_share={self.labels_share:g} and held_out={self.held_out:g} are shares: of labels more than "
                "0 and at most 1, held out at least 0 and less than 1"
            )
        if not 0 <= self.drop_path < 1 or not (self.average is None or 0 < self.average < 1):
            raise RecipeError(f"drop_path={self.drop_path:g} and average={self.average} are shares below 1")
        if any(rate <= 0 for rate in self.rates) or len(set(self.rates)) < len(self.rates):
            raise RecipeError(f"rates={','.join(map(str, self.rates))} must be positive and differ")
        parse(self.views)

    @property
    def grid(self) -> tuple[float, ...]:
        """The learning rates that are tried."""
        return self.rates or (self.optim.base_lr,)

    def total(self, videos: int, world: int) -> int:
        """Optimizer steps; in an epoch every video is seen as often as `data.augment.repeats` says."""
        return super().total(videos * self.data.augment.repeats, world)

    def build(self, classes: int) -> Classification:
        """The task with fresh weights."""
        model = Classifier(
            self.encoder, self.clip, classes, drop_path=self.drop_path, head_scale=self.head_scale
        )  # fmt: skip
        return Classification(model, self.mix, self.average)


def videomae(run: Pretrain) -> Finetune:
    """Fine-tuning as VideoMAE publishes it, for a ViT-B on 224 pixels.

    Kinetics has epochs=75, Something-Something epochs=40 and views=2x3. A mirror (data.augment.flip=True) belongs to
    Kinetics; it is refused where the name of a class says left or right. Five of the 75 epochs warm up.
    Nothing that this recipe trains is measured here yet.

    tubelet finetune runs/videomae --on corpora/mine --out runs/tuned
    """
    return Finetune(
        clip=run.clip,
        encoder=run.encoder,
        data=read_as(run, FinetuneAugment()),
        optim=LayerDecay(base_lr=5e-4, warmup=1 / 15),
        rates=(5e-4, 1e-3),
        epochs=75.0,
        batch=16,
    )


def tiny(run: Pretrain) -> Finetune:
    """Fine-tuning for small encoders and few labels on two cores: mild augmentation, many epochs.

    tubelet finetune runs/tiny tiny --on corpora/synth --labels-share 0.1 --out runs/tuned

    Expected: docs/results/finetune.md.
    """
    return Finetune(
        clip=run.clip,
        encoder=run.encoder,
        data=read_as(
            run, FinetuneAugment(smallest=0.7, randaugment=RandAugment(layers=1, magnitude=3.0), erase=0.0, repeats=1)
        ),
        mix=Mix(mixup=0.2, cutmix=0.0, smoothing=0.1),
        drop_path=0.0,
        optim=LayerDecay(base_lr=0.016, floor_lr=1e-5, warmup=0.1, clip_norm=1.0),
        rates=(0.016, 0.048),
        steps=150,
        batch=8,
        save_every=50,
        views="1x1",
    )


def read_as(run: Pretrain, augment: FinetuneAugment) -> Data:
    """Clips as the run reads them; but of the videos of train, whichever it was pretrained on."""
    return chz.replace(run.data, augment=augment, split="train", where=None, limit=None)


FinetuneRecipe = Callable[[Pretrain], Finetune]
FINETUNES: tuple[FinetuneRecipe, ...] = (videomae, tiny)


def resolve_finetune(run: Path, origin: Pretrain, *words: str, **fields: Any) -> tuple[str, Finetune]:
    """The name of the recipe that words name (`videomae` where none does) and its config, for the encoder of a run."""
    named = [word for word in words if "=" not in word]
    if len(named) > 1:
        raise RecipeError(f"{' and '.join(named)}: name one recipe; fields are written key=value")
    name, recipe = find(named[0] if named else "videomae", FINETUNES)
    given = [*(word for word in words if "=" in word), *(f"{field}={value}" for field, value in fields.items())]
    config = override(recipe(origin), given)
    set_fields = {word.partition("=")[0] for word in given}
    if "optim.base_lr" in set_fields and "rates" not in set_fields:  # one learning rate, in place of the recipe's grid
        config = chz.replace(config, rates=())
    return name, chz.replace(config, init=str(run))
