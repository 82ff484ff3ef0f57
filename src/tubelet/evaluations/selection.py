"""Which setting of a classifier is taken: the best on a held-out part of train, whole groups; by which measure; what a
tie means; and what needs no selection."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from tubelet.errors import CorpusError
from tubelet.evaluations.features import Features
from tubelet.results import ACCURACY, BALANCED
from tubelet.seeds import key

UNEVEN = 1.5  # clips of the commonest class for one of the rarest: from here on data sets are called imbalanced (KEEL)
Measure = Literal["auto", "accuracy", "balanced_accuracy"]
MEASURE_DOC = (
    "what selects and comes first: auto is balanced accuracy where classes of train are uneven (the commonest has at "
    f"least {UNEVEN:g} times the clips of the rarest), else accuracy"
)


def measure_of(label: Int64[Tensor, "v"], asked: Measure) -> str:
    """The measure that selects and comes first, by the labels of train."""
    if asked != "auto":
        return asked
    counts = class_counts(label)
    return BALANCED if max(counts) >= UNEVEN * min(counts) else ACCURACY


def class_counts(label: Int64[Tensor, "v"]) -> list[int]:
    """How many clips each class has that is there."""
    counts: list[int] = label.unique(return_counts=True)[1].tolist()
    return counts


def score(predicted: Int64[Tensor, "v"], label: Int64[Tensor, "v"], measure: str) -> float:
    """Accuracy, or its mean over the classes that are there."""
    right = (predicted == label).float()
    if measure == ACCURACY:
        return float(right.mean())
    return sum(float(right[label == c].mean()) for c in label.unique().tolist()) / len(label.unique())


def said_of_uneven(label: Int64[Tensor, "v"], measure: str) -> list[str]:
    """A sentence where accuracy would be high for the commonest class alone."""
    counts = class_counts(label)
    if measure != BALANCED or max(counts) < UNEVEN * min(counts):
        return []
    return [
        f"classes are uneven ({min(counts)} to {max(counts)} clips): balanced accuracy, the mean over classes, selects "
        "and comes first"
    ]


def hold_out(train: Features, share: float, seed: int, fixed: str = "") -> Bool[Tensor, "v"]:
    """Which clips of train select: whole groups, `share` of those of every label, by a keyed hash of the group.

    `fixed` says how the caller's setting is given, where that makes a selection needless.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(train.groups):
        members[group].append(i)
    if len(members) < 2:
        raise CorpusError(
            "selection on a held-out part of train needs two groups there, and there is one "
            f"({next(iter(members))}, {len(train)} clips); give the table more groups, or a `split` column"
            + (f", or select nothing: {fixed}" if fixed else "")
        )
    by_label: dict[int, list[str]] = defaultdict(list)
    for group, rows in members.items():
        by_label[int(train.label[rows].mode().values)].append(group)
    chosen: list[str] = []
    for groups in by_label.values():
        groups.sort(key=lambda group: (key(seed, "held out " + group), group))
        chosen += groups[: min(round(share * len(groups) + 1e-9), len(groups) - 1)]
    if not chosen:  # one group a label: any one of them, so that something selects
        chosen = [min(members, key=lambda group: (key(seed, "held out " + group), group))]
    held = torch.zeros(len(train), dtype=torch.bool)
    held[[i for group in chosen for i in members[group]]] = True
    return held


def hold_out_for(
    settings: Sequence[Any], train: Features, share: float, seed: int, fixed: str = ""
) -> Bool[Tensor, "v"] | None:
    """The clips that select among these settings; None where there is one setting, and train is one group: then
    nothing can be held out, and nothing has to be."""
    if len(settings) == 1 and len(set(train.groups)) < 2:
        return None
    return hold_out(train, share, seed, fixed)


def best(scores: Mapping[Any, float]) -> list[Any]:
    """The settings with the highest score, in their order: the first is taken."""
    return [setting for setting, score in scores.items() if score == max(scores.values())]


def tie(where: str, scores: Mapping[Any, float], clips: int, rule: str, measure: str = ACCURACY) -> list[str]:
    """A sentence where several settings were equally good, so that the rule decided, not the clips."""
    equal = best(scores)
    if len(equal) < 2:
        return []
    of = "" if measure == ACCURACY else f" {measure.replace('_', ' ')}"
    count = "all" if len(equal) == len(scores) else f"{len(equal)} of"
    return [
        f"{where}: {count} {len(scores)} settings tie at {max(scores.values()):.1%}{of} on the {clips} held-out clips "
        f"({', '.join(map(str, equal))}); taken is {rule}, {equal[0]}"
    ]
