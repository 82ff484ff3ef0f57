"""Which setting of a classifier is taken: the best on a held-out part of train, whole groups; what a tie means; and
what needs no selection."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from tubelet.errors import CorpusError
from tubelet.evaluations.features import Features
from tubelet.seeds import key


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


def tie(where: str, scores: Mapping[Any, float], clips: int, rule: str) -> list[str]:
    """A sentence where several settings were equally good, so that the rule decided, not the clips."""
    equal = best(scores)
    if len(equal) < 2:
        return []
    count = "all" if len(equal) == len(scores) else f"{len(equal)} of"
    return [
        f"{where}: {count} {len(scores)} settings tie at {max(scores.values()):.1%} on the {clips} held-out clips "
        f"({', '.join(map(str, equal))}); taken is {rule}, {equal[0]}"
    ]
