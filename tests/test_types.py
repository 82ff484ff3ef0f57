"""The one place where counts and ties are decided."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.types import split_top


@settings(deadline=None, max_examples=200)
@given(
    rows=st.lists(
        st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0]), min_size=6, max_size=6), min_size=1, max_size=4
    ),
    count=st.integers(1, 6),
)
def test_the_top_is_that_of_a_stable_sort(rows, count):
    """Many ties: they go to the lower index."""
    chosen, others = split_top(torch.tensor(rows), count)
    for row, high, low in zip(rows, chosen.tolist(), others.tolist(), strict=True):
        order = sorted(range(6), key=lambda i: (-row[i], i))
        assert high == sorted(order[:count])
        assert low == sorted(order[count:])


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_any_shape_and_kind_of_score_will_do(kind):
    scores = torch.rand(2, 3, 50, generator=torch.Generator().manual_seed(0)).to(kind)
    chosen, others = split_top(scores, 20)
    assert (chosen.shape, others.shape) == ((2, 3, 20), (2, 3, 30))
    assert (scores.gather(-1, chosen).amin(-1) >= scores.gather(-1, others).amax(-1)).all()


@settings(deadline=None, max_examples=50)
@given(
    row=st.lists(st.sampled_from([float("nan"), float("inf"), -float("inf"), 1.0]), min_size=5, max_size=5),
    count=st.integers(1, 4),
)
def test_what_is_no_number_breaks_no_count(row, count):
    """Where nothing may wait for the device it cannot be refused."""
    chosen, others = split_top(torch.tensor([row]), count)
    assert sorted((*chosen[0].tolist(), *others[0].tolist())) == [0, 1, 2, 3, 4]
    assert chosen.shape == (1, count)
