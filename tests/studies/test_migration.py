"""The table of the committed trials says what their JSON files said, value by value."""

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
CELLS, DATA = ROOT / "docs" / "results" / "cells", ROOT / "docs" / "results" / "data"

specification = importlib.util.spec_from_file_location("migrate_trials", ROOT / "benchmarks" / "migrate_trials.py")
migrate_trials = importlib.util.module_from_spec(specification)
specification.loader.exec_module(migrate_trials)


@pytest.fixture(scope="module")
def old() -> dict[str, dict]:
    """By today's hash, which differs where a field was renamed."""
    contents = [json.loads(path.read_text()) for path in sorted(CELLS.glob("*.json"))]
    found = {migrate_trials.migrated(content)["hash"]: content for content in contents}
    renamed = [name for name, content in found.items() if name != content["hash"]]
    assert all(any("observe" in word for word in found[name]["words"]) for name in renamed), "and nowhere else"
    return found


@pytest.fixture(scope="module")
def records() -> dict[str, dict]:
    return {one["hash"]: one for one in map(json.loads, (DATA / "trials.jsonl").read_text().splitlines())}


def test_every_metric_of_every_file_is_a_row_of_its_value_and_there_are_no_others(old):
    table = pd.read_parquet(DATA / "metrics.parquet")
    assert not table.duplicated(["trial", "entry", "baseline", "metric"]).any()
    found = {
        (row.trial, row.entry, row.baseline, row.metric): (row.value, row.step) for row in table.itertuples(index=False)
    }
    expected = {
        (name, entry, baseline, migrate_trials.METRICS.get(metric, metric)): (value, result["step"])
        for name, content in old.items()
        for entry, result in content["results"].items()
        for baseline, metrics in {"": result["metrics"], **result["baselines"]}.items()
        for metric, value in metrics.items()
    }
    assert len(expected) == 37_002
    assert found == expected


def test_every_point_of_every_curve_is_a_row(old):
    table = pd.read_parquet(DATA / "curves.parquet")
    found = list(table.itertuples(index=False, name=None))
    expected = [
        (name, term, step, value)
        for name, content in old.items()
        for term, points in content["curves"].items()
        for step, value in points
    ]
    assert len(expected) == 28_744
    assert sorted(found) == sorted(expected)


def test_the_line_of_a_trial_says_all_else_under_its_new_names(old, records):
    assert records.keys() == old.keys()
    assert len(old) == 257
    for name, content in old.items():
        line = records[name]
        for part in content.keys() - {"checksum", "format", "hash", "way", "words", "results", "curves"}:
            said = (
                json.dumps(content[part])
                .replace("contrast.observe", "contrast.detach")
                .replace("text.exact", "text.online")
            )
            assert line[part] == json.loads(said), part
        assert [word.replace("detach", "observe") for word in line["overrides"]] == content["words"]
        for entry, result in content["results"].items():
            expected = {k: v for k, v in result.items() if k not in ("metrics", "baselines", "seen", "marks")}
            expected |= {"evaluation": entry.partition(",")[0], "trained_on": result["seen"]}
            expected |= {"warnings": result["marks"]} if "marks" in result else {}
            assert line["results"][entry] == expected
        assert line["results"].keys() == content["results"].keys()


def test_the_script_writes_the_table_that_is_committed(tmp_path):
    assert migrate_trials.migrate(CELLS, tmp_path) == 257
    for name in ("trials.jsonl", "metrics.parquet", "curves.parquet"):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()
