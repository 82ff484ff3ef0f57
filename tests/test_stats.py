"""Statistics over seeds agree with SciPy's own tests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tubelet.stats import mean_and_std, paired_t_test, significant_after_correction


def test_a_difference_is_significant_exactly_when_the_paired_t_test_says_so():
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.5, 1.0, 3.0):
        for seeds in (2, 3, 5):
            one, other = rng.normal(shift, 1, seeds), rng.normal(0, 1, seeds)
            found = paired_t_test(list(one - other))
            assert found.significant == (stats.ttest_rel(one, other).pvalue < 0.05)
            assert found.p == pytest.approx(stats.ttest_rel(one, other).pvalue)
            low, high = stats.t.interval(0.95, seeds - 1, loc=np.mean(one - other), scale=stats.sem(one - other))
            assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))


def test_one_seed_has_no_interval_and_is_not_significant():
    lone = paired_t_test([100.0])
    assert (lone.half, lone.significant, lone.verdict) == (None, False, "not significant (1 seed)")
    assert mean_and_std([2.0]) == (2.0, None)


def test_differences_without_a_spread_are_significant_unless_they_are_nothing():
    assert [paired_t_test([always] * 3).p for always in (0.0, 1.0)] == [1.0, 0.0]
    assert [paired_t_test([always] * 3).significant for always in (0.0, 1.0)] == [False, True]
    assert paired_t_test([0.1, 0.1 + 1e-17, 0.1 + 2e-16]).significant  # by rounding alone


@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0.01, 0.5))
def test_those_that_stay_are_those_up_to_the_last_p_below_its_share_of_the_rate(ps, rate):
    bound = max((p for rank, p in enumerate(sorted(ps), 1) if p <= rate * rank / len(ps) * (1 - 1e-12)), default=-1)
    assert set(np.flatnonzero(significant_after_correction(ps, rate))) >= {
        index for index, p in enumerate(ps) if p <= bound
    }
    bound = max((p for rank, p in enumerate(sorted(ps), 1) if p <= rate * rank / len(ps) * (1 + 1e-12)), default=-1)
    assert set(np.flatnonzero(significant_after_correction(ps, rate))) <= {
        index for index, p in enumerate(ps) if p <= bound
    }
