"""Finished trials as one table: collected, read, continued from, and the committed one of our own."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.errors import RunError
from tubelet.studies import STUDIES
from tubelet.studies.store import FinishedTrials
from tubelet.studies.trials import trials_of

DATA = Path(__file__).resolve().parents[2] / "docs" / "results" / "data"
TRIALS = 328  # that are committed


def content(seed: int, value: float = 0.25) -> dict:
    """What the file of a finished trial says, in short."""
    metric = {"value": value, "unit": "fraction", "interval": [0.2, 0.3], "chance": 0.125}
    result = {
        "evaluation": "linear", "step": 3, "counts": {"test": {"used": 8}}, "metrics": {"mean.accuracy": metric},
        "baselines": {"random": {"metrics": {"mean.accuracy": {"value": None, "unit": "fraction"}}}},
    }  # fmt: skip
    return {
        "format": 2, "hash": f"abc{seed}", "study": "small", "variant": "tube", "seed": seed, "recipe": "tiny",
        "values": {"seed": seed}, "results": {"linear": result}, "curves": {"pixels": [[1, 1.5], [3, 0.5]]},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    for seed in (0, 1):
        (tmp_path / "finished").mkdir(exist_ok=True)
        (tmp_path / "finished" / f"{seed}.json").write_text(json.dumps(content(seed)))
    return tmp_path / "finished"


def same(one: FinishedTrials, other: FinishedTrials) -> None:
    assert one.records == other.records
    for name in ("metrics", "curves"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))


def test_a_table_says_what_the_files_say_and_takes_more_trials_later(folder, tmp_path, capsys):
    assert main(["study", "--trials", str(folder), "--collect", str(tmp_path / "table")]) == 0
    assert "2 trials" in capsys.readouterr().err
    same(FinishedTrials(tmp_path / "table"), FinishedTrials(folder))
    metrics = pd.read_parquet(tmp_path / "table" / "metrics.parquet")
    assert metrics.query("baseline == ''")[["value", "low", "high", "chance", "step"]].values.tolist() == [
        [0.25, 0.2, 0.3, 0.125, 3]
    ] * 2  # fmt: skip
    (folder / "2.json").write_text(json.dumps(content(2)))
    assert FinishedTrials(folder).collect(tmp_path / "table") == 3
    same(FinishedTrials(tmp_path / "table"), FinishedTrials(folder))


def test_a_file_next_to_a_table_counts_and_speaks_for_its_trial(folder):
    FinishedTrials(folder).collect(folder)
    (folder / "1.json").write_text(json.dumps(content(1, 0.75)))
    found = FinishedTrials(folder).metrics.query("baseline == '' and trial == 'abc1'")
    assert found["value"].tolist() == [0.75]


def test_a_damaged_table_is_named_with_the_remedy(folder, tmp_path):
    table = tmp_path / "table"
    FinishedTrials(folder).collect(table)
    written = (table / "metrics.parquet").read_bytes()
    (table / "metrics.parquet").write_bytes(written[:40] + b"!" + written[41:])
    with pytest.raises(RunError, match=r"metrics\.parquet is damaged.*restore it"):
        FinishedTrials(table)
    (table / "metrics.parquet").write_bytes(written)
    line, rest = (table / "trials.jsonl").read_text().split("\n", 1)
    (table / "trials.jsonl").write_text(line.replace("tube", "tune") + "\n" + rest)
    with pytest.raises(RunError, match=r"trials\.jsonl is damaged in line 1"):
        FinishedTrials(table)


def test_every_committed_trial_counts_as_finished_for_the_studies_of_today(corpus, monkeypatch):
    committed, found = FinishedTrials(DATA), set()
    declared = {study.__name__: study() for study in STUDIES}
    seeds: dict[tuple[str, ...], set[int]] = {}
    for record in committed.records.values():
        recipe = record["recipe"] if record["recipe"].startswith("miniature") else declared[record["study"]].recipe
        key = (record["corpus"]["name"], record["corpus"]["fingerprint"], record["study"], recipe)
        seeds.setdefault(key, set()).add(record["seed"])
    for (name, fingerprint, study, recipe), some in seeds.items():
        monkeypatch.setattr(Corpus, "fingerprint", lambda self, own=fingerprint: own)
        monkeypatch.setattr(Corpus, "name", name)
        trials = trials_of(study, replace(declared[study], recipe=recipe), corpus, sorted(some))
        found |= {trial.hash for trial in trials if committed.find(trial)}
    assert found == committed.records.keys()
    assert len(found) == TRIALS
