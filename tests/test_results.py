"""A result says all that is needed to read it, survives its file, and is shown as text that nobody can misuse."""

import contextlib
import json
import math
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.checksums import Damaged, write_json
from tubelet.errors import RunError
from tubelet.reports.frame import COLUMNS, frame
from tubelet.results import RATIO, Metric, Result, read_results, write_result
from tubelet.run_record import RunRecord

numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(max_size=8)
leaves = st.none() | st.booleans() | st.integers(-99, 99) | numbers | words
jsons = leaves | st.lists(leaves, max_size=2) | st.dictionaries(words, leaves, max_size=2)
ends = st.none() | st.tuples(numbers, numbers)
metrics = st.dictionaries(words, st.tuples(numbers, ends, st.none() | numbers, words), max_size=2)
open_fields = ("protocol", "counts", "view", "contamination", "asked")
saids = st.fixed_dictionaries(
    {"metrics": metrics, "references": metrics}
    | {name: st.dictionaries(words, jsons, max_size=2) for name in open_fields}
    | {name: st.lists(words, max_size=2).map(tuple) for name in ("classes", "warnings", "notes")}
    | {name: st.dictionaries(words, st.lists(words, max_size=2), max_size=1) for name in ("failed", "trained_on")}
    | {name: st.dictionaries(words, words, max_size=1) for name in ("corpus", "versions")}
    | dict.fromkeys(("evaluation", "settings"), words)
    | {name: st.none() | st.integers(0, 9) for name in ("seed", "step")}
    | {"details": st.dictionaries(words, st.dictionaries(words, jsons, max_size=1), max_size=1)}
    | {"examples": st.dictionaries(words, st.lists(st.dictionaries(words, jsons, max_size=1), max_size=1), max_size=1)}
)


def made(said: dict, baselines: dict) -> Result:
    """Not inside a strategy: the checks of shapes draw at random, which a strategy must not."""
    known = {name: {key: Metric(*one) for key, one in said[name].items()} for name in ("metrics", "references")}
    return Result(**{**said, **known, "baselines": {name: made(one, {}) for name, one in baselines.items()}})


@settings(max_examples=30, deadline=None)
@given(saids, st.dictionaries(words, saids, max_size=1))
def test_a_result_is_what_it_was_after_it_was_written_as_json_and_read(said, baselines):
    result = made(said, baselines)
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_a_number_that_is_none_is_null_and_comes_back_as_one():
    said = json.loads(json.dumps(Metric(math.nan, unit=RATIO).to_json()))
    assert said == {"value": None, "unit": "ratio"}
    assert math.isnan(Metric.from_json(said).value)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from([one.name for one in fields(Result)]), jsons, max_size=4))
def test_what_is_no_result_is_called_damaged_and_never_crashes(said):
    with contextlib.suppress(Damaged):
        Result.from_json({"metrics": {}, **said})


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"metrics": {"mean.accuracy": 0.5}}, "metrics.mean.accuracy is 0.5, not an object"),  # an earlier version
        ({"metrics": {"a": {"value": 1.0}}}, "lacks unit"),
        ({"metrics": {"a": {"value": 10**400, "unit": "fraction"}}}, "not a number"),
        ({"metrics": {"a": {"value": 1.0, "unit": "fraction", "interval": [0.5]}}}, "1 ends, not 2"),
        ({}, "lacks metrics"),
        (3, "not an object"),
    ],
)
def test_results_of_another_shape_are_one_line_that_says_to_evaluate_again(tmp_path, said, why):
    write_json(tmp_path / "results.json", {"linear": said})
    with pytest.raises(RunError, match="evaluate again") as caught:
        read_results(tmp_path)
    assert why in str(caught.value)
    assert "'linear'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_metric_shows_its_interval_and_a_fraction_is_in_percent():
    assert str(Metric(0.305, (0.25, 0.36))) == "30.5 % [25.0, 36.0]"
    assert str(Metric(0.3104, (0.2, 0.4), unit=RATIO)) == "0.31 [0.2, 0.4]"
    assert str(Metric(14.0, unit="rank")) == "14"


HOSTILE = "<script>alert(1)</script>\x1b[2J\n"


def test_a_result_is_text_and_a_table_of_a_notebook_in_which_nothing_of_a_strangers_acts():
    result = Result(
        {HOSTILE: Metric(0.5, (0.4, 0.6), chance=0.25), "loss": Metric(1.5, unit="loss")},
        baselines={HOSTILE: Result({HOSTILE: Metric(0.3)})},
        warnings=[HOSTILE],
        notes=["a note"],
        evaluation="linear",
        corpus={"name": HOSTILE},
    )
    shown = str(result)
    assert "50.0 % [40.0, 60.0], chance 25.0 %" in shown
    assert "30.0 %" in shown
    assert "note: a note" in shown
    assert "\x1b" not in shown
    html = result._repr_html_()
    assert "<script" not in html
    assert "\x1b" not in html
    assert "25.0 %" in html
    assert html.count("<tr>") == 3


def test_the_frame_has_a_row_a_metric_of_every_run_and_every_baseline():
    result = Result(
        {"mean.accuracy": Metric(0.5, (0.4, 0.6), chance=0.25)},
        baselines={"random": Result({"mean.accuracy": Metric(0.3)})},
        evaluation="linear", corpus={"name": "here"}, step=7,
    )  # fmt: skip
    records = [
        RunRecord(Path(), name, {"values": {"seed": seed}}, results={"linear": replace(result)})
        for name, seed in (("a", 0), ("b", 3))
    ]
    data = frame(records)
    assert tuple(data.columns) == COLUMNS
    assert len(data) == 4
    [row] = data[(data.run == "b") & (data.baseline == "")].to_dict("records")
    assert row == {
        "run": "b", "entry": "linear", "protocol": "linear", "corpus": "here", "baseline": "",
        "metric": "mean.accuracy", "value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.25, "unit": "fraction",
        "step": 7, "seed": 3,
    }  # fmt: skip
    assert tuple(frame([]).columns) == COLUMNS


def test_what_is_judged_of_the_whole_is_noted_where_it_is_written(tmp_path):
    first = Result({"a": Metric(1.0)}, baselines={"random": Result({"a": Metric(0.5)})})
    write_result(tmp_path, "linear", first)
    again = write_result(
        tmp_path, "linear", Result({"a": Metric(2.0)}), lambda whole: replace(whole, notes=tuple(whole.baselines))
    )
    assert again.notes == ("random",)
    assert read_results(tmp_path) == {"linear": again}


def test_results_need_no_torch():
    code = "import sys, tubelet.results; print([n for n in ('torch', 'pandas', 'numpy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("part", ["corpus", "values"])
def test_a_recipe_whose_parts_are_of_another_kind_is_named(part, tmp_path):
    write_json(tmp_path / "recipe.json", {"recipe": "tiny", part: 3})
    with pytest.raises(RunError, match=rf"recipe.json: {part} is 3, and no object; restore it"):
        RunRecord.read(tmp_path)


def test_a_link_that_leads_in_a_circle_is_no_traceback(tmp_path):
    write_json(tmp_path / "recipe.json", {"recipe": "tiny"})
    (tmp_path / "results.json").symlink_to("results.json")
    with pytest.raises(RunError, match=r"results.json is damaged and cannot be read .* delete it and evaluate again"):
        RunRecord.read(tmp_path)
