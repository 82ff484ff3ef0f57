"""Ranks and precision against loops that anyone can check."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.evaluations.retrieval import average_precision, hit, interval, ranks


def loop(similarity: list[float], correct: list[bool]) -> tuple[int, float]:
    """The rank of the first right answer and the average precision; a wrong answer comes before its equals."""
    order = sorted(range(len(similarity)), key=lambda i: (-similarity[i], correct[i]))
    first, found, total = 0, 0, 0.0
    for place, i in enumerate(order, start=1):
        if correct[i]:
            first = first or place
            found += 1
            total += found / place
    return first, total / found


answers = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12).filter(
    lambda some: any(right for _, right in some)
)


@settings(deadline=None)
@given(answers)
def test_ranks_and_precision_are_those_of_a_ten_line_loop_ties_included(some):
    similarity, correct = [float(s) for s, _ in some], [right for _, right in some]
    rank, precision = loop(similarity, correct)
    assert ranks(torch.tensor([similarity]), torch.tensor([correct])).tolist() == [rank]
    assert average_precision(torch.tensor([similarity]), torch.tensor([correct])).item() == pytest.approx(precision)


def test_features_that_are_all_equal_score_nothing():
    correct = torch.eye(6, dtype=torch.bool)
    assert ranks(torch.zeros(6, 6), correct).tolist() == [6] * 6


@pytest.mark.parametrize(("right", "size", "draws"), [(1, 10, 1), (3, 10, 5), (2, 4, 10), (4, 7, 2)])
def test_chance_is_what_random_orders_score(right, size, draws):
    rng = torch.Generator().manual_seed(0)
    similarity = torch.rand(20_000, size, generator=rng)
    correct = torch.zeros(20_000, size, dtype=torch.bool)
    correct[:, :right] = True
    measured = (ranks(similarity, correct) <= draws).float().mean().item()
    assert hit(right, size, draws) == pytest.approx(measured, abs=0.015)


def test_the_interval_of_a_mean_holds_it_and_needs_two_groups():
    values = torch.tensor([0.0, 1.0] * 20, dtype=torch.float64)
    low, high = interval("x", values, [str(i) for i in range(40)], seed=0, samples=500)["x"]
    assert 0.3 < low < 0.5 < high < 0.7
    assert interval("x", values, ["one"] * 40, seed=0, samples=500) == {}
