"""How well moments are found: frame accuracy and F1 of merged segments (as in temporal segmentation), mean average
precision of proposals (as in temporal localisation). Start reading at `f1` and `mean_average_precision`."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

NEAR = 0.5  # overlap beyond which a proposal says what a better one of its class says
LEVELS = tuple(np.arange(0.1, 0.95, 0.1).tolist())  # of probability, at which proposals are cut


@dataclass(frozen=True)
class Span:
    """Seconds of a video, and the class that they are said to show."""

    start: float
    end: float
    label: int
    score: float = 1.0


def overlap(one: Span, other: Span) -> float:
    """Intersection over union, in time."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return max(shared, 0.0) / max(one.end - one.start + other.end - other.start - max(shared, 0.0), 1e-12)


def merged(labels: Int64[np.ndarray, "s"], times: Float64[np.ndarray, "s"], step: float, background: int) -> list[Span]:
    """Neighbours of equal labels as one segment; none of the background."""
    cuts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return [
        Span(float(times[a] - step / 2), float(times[b - 1] + step / 2), int(labels[a]))
        for a, b in itertools.pairwise(cuts)
        if b > a and labels[a] != background
    ]


def proposals(
    probability: Float64[np.ndarray, "s c"],
    times: Float64[np.ndarray, "s"],
    step: float,
    background: int,
    levels: Sequence[float] = LEVELS,
) -> list[Span]:
    """Of each class, stretches in which its probability is at least a level, scored by its mean; of those that overlap
    by more than half the best alone."""
    found: list[Span] = []
    for label in range(probability.shape[1]):
        if label == background:
            continue
        share = probability[:, label]
        some = []
        for level in levels:
            for span in merged((share >= level).astype(np.int64), times, step, background=0):
                inside = (times > span.start) & (times < span.end)
                some.append(Span(span.start, span.end, label, float(share[inside].mean())))
        found += best_of(some)
    return found


def best_of(spans: Sequence[Span]) -> list[Span]:
    kept: list[Span] = []
    for span in sorted(spans, key=lambda one: -one.score):
        if all(overlap(span, other) <= NEAR for other in kept):
            kept.append(span)
    return kept


@dataclass(frozen=True)
class Matches:
    """Of one video: segments that were found, that were found where there is none, and that were missed."""

    right: int
    wrong: int
    missed: int


def matches(found: Sequence[Span], true: Sequence[Span], least: float) -> Matches:
    """A found segment is right where the true one of its class that it overlaps most is at least so alike, and no
    earlier one was."""
    taken: set[int] = set()
    for span in found:
        same = [(overlap(span, other), -number) for number, other in enumerate(true) if other.label == span.label]
        alike, number = max(same, default=(0.0, 1))
        if alike >= least and -number not in taken:
            taken.add(-number)
    return Matches(len(taken), len(found) - len(taken), len(true) - len(taken))


def f1(some: Sequence[Matches]) -> float:
    right, wrong, missed = (sum(getattr(one, name) for one in some) for name in ("right", "wrong", "missed"))
    return 2 * right / max(2 * right + wrong + missed, 1)


def average_precision(
    found: Sequence[Sequence[Span]], true: Sequence[Sequence[Span]], label: int, least: float
) -> float:
    """Of one class over all videos, as ActivityNet measures it: proposals by falling score, each right where a true
    moment that overlaps it enough is free, the most alike first; the area under the precision that only falls."""
    rows = [(span.score, video, span) for video, spans in enumerate(found) for span in spans if span.label == label]
    goals = [[span for span in spans if span.label == label] for spans in true]
    taken: set[tuple[int, int]] = set()
    right = []
    for _, video, span in sorted(rows, key=lambda row: -row[0]):
        order = sorted(range(len(goals[video])), key=lambda number: -overlap(span, goals[video][number]))
        free = [n for n in order if overlap(span, goals[video][n]) >= least and (video, n) not in taken]
        taken.update((video, n) for n in free[:1])
        right.append(bool(free))
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float(precision[np.array(right, bool)].sum() / max(sum(map(len, goals)), 1))


def mean_average_precision(found: Sequence[Sequence[Span]], true: Sequence[Sequence[Span]], least: float) -> float:
    """Over the classes that there are."""
    labels = sorted({span.label for spans in true for span in spans})
    return float(np.mean([average_precision(found, true, label, least) for label in labels])) if labels else 0.0
