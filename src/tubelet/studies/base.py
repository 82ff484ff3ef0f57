"""A study is a function that returns a `Study`: ways to train that differ in what is asked about, and what is measured.

Each way is a recipe with a few fields changed; every way is trained with every seed, and each such cell is an ordinary
run with ordinary commands, so that whoever doubts a number can type them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Equal = Literal["steps", "tokens", "flops"]
LOG = "log"  # stands where an evaluation does


@dataclass(frozen=True)
class Way:
    """The words that make it of the study's recipe, as on the command line of `tubelet pretrain`."""

    words: str = ""
    equal: Equal = "steps"  # what it has in common with the study's reference: steps, visible tubelets seen, or FLOPs
    then: tuple[str, ...] = ()  # further commands on the run, in which {run}, {corpus} and {seed} are filled in


@dataclass(frozen=True)
class Measure:
    """A column: a metric of an evaluation, on the table's labels or on a column of the truth of the synthetic dataset;
    of `log`, a loss in the last tenth of the steps, over its trivial level."""

    title: str
    evaluation: str
    metric: str
    label: str | None = None
    settings: tuple[str, ...] = ()  # of the evaluation, such as linear.pools=mean
    percent: bool = True


MEASURES = (
    Measure("skill", "reconstruction", "skill"),
    Measure("skill of copying", "reconstruction", "nearest_skill"),
    Measure("motion, slots", "linear", "slots.accuracy"),
    Measure("motion, mean", "linear", "mean.accuracy"),
    Measure("motion, kNN", "knn", "slots.accuracy"),
    Measure("shape", "linear", "mean.accuracy", "shape", ("linear.pools=mean",)),
    Measure("colour", "linear", "mean.accuracy", "colour", ("linear.pools=mean",)),
    Measure("text to video R@10", "retrieval", "text_to_video.r@10"),
)
"""Synthetic dataset: `motion` is the label, which captions of the subject do not name; shape and colour they name.
Elsewhere the columns that need its truth are left out."""


@dataclass(frozen=True)
class Study:
    """`differences` names pairs of ways: the first minus the second, by seed."""

    question: str
    ways: Mapping[str, Way]
    differences: tuple[tuple[str, str], ...] = ()
    recipe: str = "miniature"
    seeds: int = 3
    reference: str | None = None  # the way whose tokens or FLOPs others are made equal to
    measures: tuple[Measure, ...] = MEASURES
    curves: tuple[str, ...] = ()  # terms of the log that are drawn over the steps; a loss, of its trivial level


Declares = Callable[[], Study]
