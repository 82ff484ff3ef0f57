"""Cross-validation by group, where few groups leave a test split that says little: every labelled clip of the corpus is
tested once, by a classifier that was fitted and selected on clips of other groups.

Leave one group out is one fold a group, as scikit-learn's `LeaveOneGroupOut`. K folds are whole groups, of about as
many clips each: the largest groups first, each to the fold that has the fewest clips, as `GroupKFold` does.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations.features import Features

LEAVE_ONE_OUT = "leave_one_group_out"
CrossValidation = int | Literal["leave_one_group_out"] | None
DOC = (
    f"cross-validation by group over the labelled clips of all splits: {LEAVE_ONE_OUT}, or a number of folds; "
    "None: train fits, test is measured"
)


@dataclass(frozen=True)
class Fold:
    """Clips to fit and select on, and clips of other groups to test."""

    train: Features
    test: Features
    index: Int64[Tensor, "q"]  # where the tested clips stand among those of all folds


def folds_of(clips: Features, cv: CrossValidation) -> list[Fold]:
    """Every clip is in the test of one fold."""
    folds = []
    for groups in groups_of_folds(clips.groups, cv):
        asked = torch.tensor([group in groups for group in clips.groups])
        folds.append(Fold(clips.rows(~asked), clips.rows(asked), asked.nonzero().squeeze(1)))
    return folds


def groups_of_folds(groups: Sequence[str], cv: CrossValidation) -> list[frozenset[str]]:
    """The groups that each fold tests."""
    sizes = Counter(groups)
    if len(sizes) < 2:
        raise CorpusError(
            f"cross-validation by group needs labelled clips of two groups, and there is one ({groups[0]}, "
            f"{len(groups)} clips); give --labels a column `group` when indexing: who or what was filmed, where"
        )
    if cv == LEAVE_ONE_OUT:
        return [frozenset([group]) for group in sorted(sizes)]
    assert isinstance(cv, int)
    if cv > len(sizes):
        raise CorpusError(f"there are {len(sizes)} groups and cv={cv} folds; take fewer, or cv={LEAVE_ONE_OUT}")
    folds: list[set[str]] = [set() for _ in range(cv)]
    clips = [0] * cv
    for group in sorted(sizes, key=lambda group: (-sizes[group], group)):
        lightest = clips.index(min(clips))
        folds[lightest].add(group)
        clips[lightest] += sizes[group]
    return [frozenset(some) for some in folds]


def refuse_bad(cv: CrossValidation, name: str) -> None:
    if isinstance(cv, int) and cv < 2:
        raise RecipeError(f"{name}={cv} must be at least 2 folds, or {LEAVE_ONE_OUT}")


def in_words(cv: CrossValidation, folds: int) -> str:
    how = f"leave one group out, {folds} folds" if cv == LEAVE_ONE_OUT else f"{folds} folds of whole groups"
    return f"cross-validation by group, {how}: each clip tested once, fitted and selected on the others"
