"""The figures of docs/results are drawn from finished trials by one command."""

import json
from pathlib import Path

import pandas as pd
import pytest
from benchmarks.__main__ import main
from benchmarks.figures import WITH_CONTRAST, Trials

from tubelet.studies.store import FinishedTrials

DATA = Path(__file__).parent.parent / "docs" / "results" / "data"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="needs the committed trials of a checkout")


def test_a_point_is_the_mean_over_seeds_of_what_the_trial_has_above_its_own_untrained_encoder():
    metrics = pd.read_parquet(DATA / "metrics.parquet")
    gains: dict[int, list[float]] = {}
    for line in (DATA / "trials.jsonl").read_text().splitlines():
        trial = json.loads(line)
        words = {word for word in trial["overrides"] if not word.startswith("seed=")}
        if trial["recipe"] != "miniature" or words != set(WITH_CONTRAST["tube + contrast"].split()):
            continue
        rows = metrics[(metrics.trial == trial["hash"]) & (metrics.entry == "linear")]
        rows = rows[rows.metric == "temporal_concat.accuracy"].set_index("baseline")
        gains.setdefault(trial["seed"], []).append(rows.loc["", "value"] - rows.loc["random", "value"])
    seeds = [sum(some) / len(some) for some in gains.values()]
    point = Trials(FinishedTrials(DATA)).points("miniature", WITH_CONTRAST)["tube + contrast"]
    assert len(point) == len(seeds) > 2
    assert point.mean() == pytest.approx(100 * sum(seeds) / len(seeds))


def test_the_same_trials_give_the_same_files_and_without_trials_there_is_no_figure(tmp_path, capsys):
    for folder in ("one", "other"):
        main(["figures", "--trials", str(DATA), "--out", str(tmp_path / folder)])
    for name in ("forest.svg", "dose.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    main(["figures", "--trials", str(tmp_path / "empty"), "--out", str(tmp_path / "none")])
    assert "forest: no finished trials in" in capsys.readouterr().out
    assert not list((tmp_path / "none").iterdir())
