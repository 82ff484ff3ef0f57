"""Measures of moments against brute force: the loops of MS-TCN and of ActivityNet, written as those are."""

import itertools

import numpy as np
import pytest

from tubelet.evaluations.localisation import (
    Span,
    average_precision,
    f1,
    matches,
    mean_average_precision,
    merged,
    overlap,
    proposals,
)
from tubelet.evaluations.timelines import labels_at

VIDEOS, CLASSES = 5, 3


def spans_of(rng: np.random.Generator, count: int) -> list[list[Span]]:
    """Of some videos, on a grid of quarters, so that ends touch and coincide."""
    made = []
    for _ in range(VIDEOS):
        start = rng.integers(0, 40, count) / 4
        length = rng.integers(1, 16, count) / 4
        scores = rng.permutation(count * 10)[:count] / (count * 10)
        rows = zip(start, length, rng.integers(CLASSES, size=count), scores, strict=True)
        made.append([Span(float(a), float(a + d), int(c), float(s)) for a, d, c, s in rows])
    return made


def ms_tcn(found: list[Span], true: list[Span], least: float) -> tuple[int, int, int]:
    right, hits = 0, np.zeros(len(true))
    for one in found:
        shared = [min(one.end, other.end) - max(one.start, other.start) for other in true]
        hull = [max(one.end, other.end) - min(one.start, other.start) for other in true]
        alike = [s / h * (one.label == o.label) for s, h, o in zip(shared, hull, true, strict=True)]
        best = int(np.argmax(alike))
        if alike[best] >= least and not hits[best]:
            right += 1
            hits[best] = 1
    return right, len(found) - right, len(true) - int(hits.sum())


def activitynet(found: list[list[Span]], true: list[list[Span]], label: int, least: float) -> float:
    rows = sorted(
        ((s.score, v, s) for v, some in enumerate(found) for s in some if s.label == label), key=lambda r: -r[0]
    )
    goals = [[s for s in some if s.label == label] for some in true]
    locked = [[False] * len(some) for some in goals]
    tp, fp = np.zeros(len(rows)), np.zeros(len(rows))
    for number, (_, video, one) in enumerate(rows):
        alike = np.array([overlap(one, goal) for goal in goals[video]])
        for goal in alike.argsort(kind="stable")[::-1] if len(alike) else []:
            if alike[goal] < least:
                break
            if locked[video][goal]:
                continue
            locked[video][goal] = True
            tp[number] = 1
            break
        fp[number] = 1 - tp[number]
    recall = np.cumsum(tp) / max(sum(map(len, goals)), 1)
    precision = np.cumsum(tp) / (np.cumsum(tp) + np.cumsum(fp))
    precision, recall = np.hstack([[0], precision, [0]]), np.hstack([[0], recall, [1]])
    for number in range(len(precision) - 1)[::-1]:
        precision[number] = max(precision[number], precision[number + 1])
    where = np.where(recall[1:] != recall[:-1])[0] + 1
    return float(np.sum((recall[where] - recall[where - 1]) * precision[where]))


@pytest.mark.parametrize("least", [0.1, 0.25, 0.5, 0.75])
def test_f1_is_that_of_the_loop_of_ms_tcn(least: float) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found, true = spans_of(rng, 9), spans_of(rng, 7)
        counted = [matches(one, other, least) for one, other in zip(found, true, strict=True)]
        loop = [ms_tcn(one, other, least) for one, other in zip(found, true, strict=True)]
        assert [(m.right, m.wrong, m.missed) for m in counted] == loop
        right, wrong, missed = map(sum, zip(*loop, strict=True))
        precision, recall = right / (right + wrong), right / (right + missed)
        assert f1(counted) == pytest.approx(2 * precision * recall / (precision + recall) if right else 0.0)


@pytest.mark.parametrize("least", [0.1, 0.3, 0.5, 0.7])
def test_average_precision_is_that_of_the_loop_of_activitynet(least: float) -> None:
    for seed in range(40):
        rng = np.random.default_rng(100 + seed)
        found, true = spans_of(rng, 12), spans_of(rng, 4)
        loops = [activitynet(found, true, label, least) for label in range(CLASSES)]
        for label, expected in enumerate(loops):
            assert average_precision(found, true, label, least) == pytest.approx(expected)
        assert mean_average_precision(found, true, least) == pytest.approx(np.mean(loops))


def test_segments_join_equal_neighbours_and_give_back_the_labels_that_they_were_made_of() -> None:
    step, background = 0.5, CLASSES
    for seed in range(30):
        labels = np.random.default_rng(seed).integers(CLASSES + 1, size=20).repeat(2)
        times = (np.arange(40) + 0.5) * step
        segments = merged(labels, times, step, background)
        for one, other in itertools.pairwise(segments):
            assert one.end <= other.start
            assert one.label != other.label or one.end < other.start, "equal labels join"
        again = labels_at(times, [(span.start, span.end, span.label) for span in segments], background)
        assert (again == labels).all()


def test_exact_segments_score_1_and_none_0() -> None:
    true = spans_of(np.random.default_rng(0), 3)
    apart = [[Span(4.0 * n, 4.0 * n + 2, span.label) for n, span in enumerate(some)] for some in true]
    assert f1([matches(some, some, 0.9) for some in apart]) == 1
    assert mean_average_precision(apart, apart, 0.9) == 1
    assert f1([matches([], some, 0.1) for some in apart]) == 0
    assert mean_average_precision([[]] * VIDEOS, apart, 0.1) == 0
    assert f1([matches([], [], 0.5)]) == 0


def test_a_moment_that_is_found_twice_counts_once() -> None:
    true = [Span(0.0, 4.0, 0)]
    twice = [Span(0.0, 4.0, 0, 0.9), Span(0.0, 4.0, 0, 0.8)]
    found = matches(twice, true, 0.5)
    assert (found.right, found.wrong, found.missed) == (1, 1, 0)


def test_proposals_are_stretches_of_a_class_and_overlap_little() -> None:
    rng = np.random.default_rng(0)
    times = (np.arange(60) + 0.5) / 2
    share = rng.dirichlet([0.3] * (CLASSES + 1), 20).repeat(3, 0)
    found = proposals(share, times, 0.5, background=CLASSES)
    assert {span.label for span in found} <= {*range(CLASSES)}
    for span in found:
        inside = (times > span.start) & (times < span.end)
        assert span.score == pytest.approx(share[inside, span.label].mean())
        for other in found:
            if other is not span and other.label == span.label:
                assert overlap(span, other) <= 0.5
    sure = np.zeros((60, CLASSES + 1))
    sure[:, CLASSES] = 1
    sure[10:20] = [1, 0, 0, 0]
    assert proposals(sure, times, 0.5, background=CLASSES) == [Span(5.0, 10.0, 0, 1.0)]


def test_of_overlapping_moments_a_time_shows_the_one_that_began_last() -> None:
    times = np.arange(6) + 0.5
    assert labels_at(times, [(0.0, 6.0, 1), (2.0, 4.0, 0)], background=9).tolist() == [1, 1, 0, 0, 1, 1]
