"""Intervals say how little a handful of recordings says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tubelet import cli
from tubelet.evaluations.intervals import of_mean
from tubelet.results import read_results


def reference(right: int, of: int) -> list[float]:
    found = stats.binomtest(right, of).proportion_ci(0.95, method="exact")
    return [found.low, found.high]


@pytest.mark.parametrize(("right", "of"), [(0, 2), (1, 2), (2, 2), (3, 7), (7, 7), (30, 30), (0, 400)])
def test_the_exact_interval_is_that_of_scipy(right, of):
    from tubelet.evaluations.intervals import exact

    assert exact(right / of, of) == pytest.approx(reference(right, of), abs=1e-9)


@pytest.mark.parametrize("clips", [2, 5, 9, 40])
def test_right_every_time_is_not_certain(clips):
    for value in (1.0, 0.0):
        found = of_mean(np.full(clips, value), [f"g{i}" for i in range(clips)], seed=0, samples=200)
        assert found == pytest.approx(reference(int(value * clips), clips), abs=1e-9)


def test_a_group_is_one_outcome_however_many_clips_it_has():
    values, groups = np.ones(60), ["anna"] * 30 + ["ben"] * 30
    assert of_mean(values, groups, seed=0, samples=200) == pytest.approx(reference(2, 2), abs=1e-9)
    assert of_mean(values, ["anna"] * 60, seed=0, samples=200) is None


def test_many_groups_of_mixed_outcomes_have_the_percentiles_of_a_bootstrap():
    rng = np.random.default_rng(0)
    values, groups = (rng.random(80) < 0.7).astype(float), [f"g{i // 2}" for i in range(80)]
    low, high = of_mean(values, groups, seed=0, samples=4000)
    means = values.reshape(40, 2).mean(1)
    drawn = [rng.choice(means, 40).mean() for _ in range(4000)]
    assert [low, high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.02)


def test_few_means_have_the_t_interval_of_scipy():
    values = np.array([0.31, 0.42, 0.38, 0.55])
    found = of_mean(values, list("abcd"), seed=0, samples=200)
    wanted = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert found == pytest.approx(wanted, abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_an_interval_of_few_holds_its_mean_and_stays_a_share(values):
    low, high = of_mean(np.array(values), [f"g{i}" for i in range(len(values))], seed=0, samples=50)
    assert 0 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= 1


def test_it_covers_where_a_bootstrap_does_not():
    """Of 5 groups that are right 9 times in 10: how often the interval holds .9."""
    rng = np.random.default_rng(0)
    groups = [f"g{i}" for i in range(5)]
    held = 0
    for _ in range(300):
        low, high = of_mean((rng.random(5) < 0.9).astype(float), groups, seed=0, samples=50)
        held += low <= 0.9 <= high
    assert held / 300 >= 0.95


def test_two_test_clips_are_not_told_as_a_hundred_percent_for_sure(two_test_clips, capsys):
    run, said = two_test_clips
    found = read_results(run)
    for name, metric in (("linear", "mean.accuracy"), ("linear", "mean.balanced_accuracy"), ("knn", "mean.accuracy")):
        assert found[name].metrics[metric].value == 1.0
        assert found[name].metrics[metric].interval == pytest.approx(reference(2, 2), abs=1e-6)
    low, high = found["reconstruction"].metrics["r2"].interval
    assert low < found["reconstruction"].metrics["r2"].value < high
    few = "2 groups of test: the intervals are wide, for so few recordings say little"
    assert sum(note.startswith(few) for note in found["linear"].notes) == 1
    assert "NOTE: 2 groups of test" in said


@pytest.fixture(scope="module")
def two_test_clips(tmp_path_factory, clip):
    from test_what_selects import config, make

    from tubelet.runs.pretrain import pretrain

    folder = tmp_path_factory.mktemp("two")
    corpus = make(folder / "corpus", [f"g{i}" for i in range(8)], count=6)
    pretrain(config(clip), on=corpus.folder, out=folder / "run")
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert cli.main(["evaluate", str(folder / "run"), "linear", "knn", "reconstruction"]) == 0
    return folder / "run", said.getvalue()
