"""A study is a function that returns a `Study`: variants of a recipe that differ in what is asked about, and what is
measured.

A variant is the recipe with a few fields overridden; every variant is trained with every seed, and each such trial is
an ordinary run made by ordinary commands, so that anybody can repeat a single number by hand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Equal = Literal["steps", "tokens", "flops"]
LOG = "log"  # in place of an evaluation's name


@dataclass(frozen=True)
class Variant:
    """Overrides of the study's recipe, as on the command line of `tubelet pretrain`. {run}, {corpus} and {seed} are
    filled in; so a command of `first` may write `{run}-teacher` for the overrides to name."""

    overrides: str = ""
    equal: Equal = "steps"  # what it has in common with the study's reference: steps, visible tubelets seen, or FLOPs
    recipe: str | None = None  # in place of the study's, whatever recipe the study is asked of
    first: tuple[str, ...] = ()  # commands before it, as the training of a teacher; `equal` does not count them
    then: tuple[str, ...] = ()  # further commands on the run

    @property
    def words(self) -> str:
        """Its recipe, where it has its own, and its overrides."""
        return " ".join(filter(None, (self.recipe, self.overrides)))


@dataclass(frozen=True)
class Measure:
    """A column: a metric of an evaluation, on the table's labels or on a column of the truth of the synthetic dataset;
    of `log`, a loss in the last tenth of the steps, relative to the mean-prediction baseline."""

    title: str
    evaluation: str
    metric: str
    label: str | None = None
    settings: tuple[str, ...] = ()  # of the evaluation, such as linear.pools=mean
    percent: bool = True


MEASURES = (
    Measure("R²", "reconstruction", "r2"),
    Measure("R² of copying", "reconstruction", "copy_r2"),
    Measure("motion, temporal concat", "linear", "temporal_concat.accuracy"),
    Measure("motion, mean", "linear", "mean.accuracy"),
    Measure("motion, kNN", "knn", "temporal_concat.accuracy"),
    Measure("shape", "linear", "mean.accuracy", "shape", ("linear.pools=mean",)),
    Measure("colour", "linear", "mean.accuracy", "colour", ("linear.pools=mean",)),
    Measure("text to video R@10", "retrieval", "text_to_video.r@10"),
)
"""Of the synthetic dataset: `motion` is the label, which captions of the subject do not name; shape and colour they
name. On other corpora the columns that need its truth are left out."""


@dataclass(frozen=True)
class Study:
    """`differences` names pairs of variants: the first minus the second, paired by seed."""

    question: str
    variants: Mapping[str, Variant]
    differences: tuple[tuple[str, str], ...] = ()
    recipe: str = "miniature"
    seeds: int = 3
    reference: str | None = None  # the variant whose tokens or FLOPs others are made equal to
    measures: tuple[Measure, ...] = MEASURES
    curves: tuple[str, ...] = ()  # terms of the log that are plotted; a loss, relative to the mean-prediction baseline

    def recipe_of(self, variant: str) -> str:
        return self.variants[variant].recipe or self.recipe


Declares = Callable[[], Study]
