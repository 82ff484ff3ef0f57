"""`tubelet demo`: the whole pipeline in one command, here with few clips and steps."""

import re

import pytest
from scipy import stats

from tubelet import cli
from tubelet.reports.demo import interval, mean_text
from tubelet.results import read_results


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seeds", [["0"], pytest.param(["0", "1"], marks=pytest.mark.slow)])
def test_the_demo_runs_the_whole_line_for_each_seed_and_goes_on_where_it_stopped(tmp_path, capsys, seeds):
    out = tmp_path / "demo"
    command = ["demo", "--out", str(out), "--seed", *seeds, "--steps", "3", "--train", "32", "--test", "16"]
    assert cli.main(command) == 0
    shown = capsys.readouterr().out
    several = len(seeds) > 1
    for run in (name + f"-{seed}" * several for name in ("reconstruction", "text-guided") for seed in seeds):
        results = read_results(out / run)
        assert {"linear", "knn", "retrieval", "reconstruction"} <= set(results)
        assert {"random", "mean_image", "ceiling"} <= set(results["linear"].baselines)
    assert (out / "report.html").stat().st_size > 100_000
    rows = {
        "reconstruction": 1,
        "text-guided": 1,
        "random init": 2,
        "mean image": 2,
        "supervised ceiling": 1,
        "chance": 1,
    }
    for row, times in rows.items():
        assert len(re.findall(rf"^ *{row} ", shown, re.MULTILINE)) == times, row
    assert ("margins in points" in shown) == several

    assert cli.main(command) == 0
    again = "".join(capsys.readouterr())
    assert "complete already" in again
    assert "is finished" in again


def test_an_interval_of_margins_is_the_paired_t_interval():
    points = [3.0, 5.5, 4.0]
    low, high = stats.t.interval(0.95, 2, loc=sum(points) / 3, scale=stats.sem(points))
    assert interval(points) == f"{sum(points) / 3:+.1f} ± {(high - low) / 2:.1f}"


def test_a_cell_shows_mean_and_spread_in_percent_and_nothing_where_nothing_was_measured():
    assert mean_text([None, None]) == ""
    assert mean_text([0.25]) == "25.0"
    assert mean_text([0.2, 0.3]) == "25.0 ± 7.1"
