"""What a run says of itself while nobody watches."""

import os
from pathlib import Path

import pytest

from support.small_runs import assert_identical, pretrain, steps
from tubelet.errors import RecipeError
from tubelet.heap import resident
from tubelet.log import Log, gauges, read_log
from tubelet.recipes import Pretrain
from tubelet.runs.alarms import Alarms


def record(step: int, **values: float) -> dict:
    return {"step": step, "loss": 1.0, "gradient_norm": 1.0, "data_wait": 0.1, "memory": 2.0, **values}


@pytest.fixture
def said(tmp_path: Path):
    """What is said of a run of these records, each of which must stand in the log too."""

    def of(*records: dict, before: tuple[dict, ...] = ()) -> list[str]:
        told: list[str] = []
        path = tmp_path / "log.jsonl"
        path.unlink(missing_ok=True)
        with Log(path) as log:
            alarms = Alarms(told.append, log, Pretrain(steps=1, batch=2), 1, before)
            for one in records:
                alarms(one)
        logged = [one["said"] for one in read_log(path) if one["kind"] == "alarm"]
        assert logged == told
        return told

    return of


def test_a_run_like_any_other_raises_no_alarm(said):
    assert said(*(record(step, gradient_norm=1 + 0.1 * (step % 7)) for step in range(1, 100))) == []


def test_a_loop_that_waits_for_clips_half_its_time_is_named_once_with_its_share(said):
    hungry = [record(step, data_wait=0.75) for step in range(10, 100, 10)]
    [sentence] = said(record(1, data_wait=0.9), record(2), *hungry)
    assert "waits for clips 75% of its time (steps 10 to 30): more data.workers" in sentence


def test_the_first_clips_are_waited_for_without_an_alarm(said):
    assert said(record(1, data_wait=0.99), record(10, data_wait=0.6), record(20)) == []


def test_a_gradient_far_above_those_before_it_is_named_each_time_that_it_rises(said):
    usual = [record(step) for step in range(1, 20)]
    steep = [record(20, gradient_norm=30.0), record(21, gradient_norm=40.0), record(22), record(23, gradient_norm=25.0)]
    first, second = said(*usual, *steep)
    assert first.startswith("gradient_norm 30 of step 20 is 30 times the median of the last 19 records")
    assert second.startswith("gradient_norm 25 of step 23 is 25 times")


def test_a_run_that_resumes_knows_the_gradients_before_it(said):
    before = tuple(record(step) for step in range(1, 20))
    assert len(said(record(20, gradient_norm=30.0), before=before)) == 1
    assert said(record(20, gradient_norm=30.0)) == []


def test_memory_that_grows_is_named_each_time_that_it_has_grown_by_half_and_a_gb(said):
    grows = [record(step, memory=2.0 + 0.02 * max(0, step - 20)) for step in range(1, 200)]
    first, second = said(*grows)
    assert first.startswith("memory has grown from 2.0 to 3.0 GB between steps 10 and 7")
    assert second.startswith("memory has grown from 3.0 to 4.5 GB between steps 7")


def test_the_log_says_how_long_a_step_waited_and_what_memory_it_holds(tmp_path, corpus, recipes):
    run, gauge = tmp_path / "run", tmp_path / "tubelet.prom"
    words = (f"{recipes}:pixels", "steps=4", f"prometheus={gauge}", "--on", corpus, "--out", run)
    assert pretrain(*words) == 0
    for one in steps(run):
        assert 0 < one["data_wait"] <= 1
        assert one["memory"] == pytest.approx(resident() / 1e9, rel=0.5)
    last, lines = steps(run)[-1], gauge.read_text().splitlines()
    assert f'tubelet_step{{run="{run}"}} 4' in lines
    assert f'tubelet_pixels_baseline{{run="{run}"}} {last["pixels.baseline"]!r}' in lines
    assert f'tubelet_time{{run="{run}"}} {last["time"]!r}' in lines
    types = [line for line in lines if line.startswith("# TYPE ")]
    assert len(types) == len(set(types)) == len(lines) / 2
    assert not list(tmp_path.glob(".*.part"))


def test_a_name_with_quotes_is_a_label_that_prometheus_reads():
    assert gauges('a "b"\\c', {"lr": 0.5, "kind": "step", "failed": []}) == (
        '# TYPE tubelet_lr gauge\ntubelet_lr{run="a \\"b\\"\\\\c"} 0.5\n'
    )


def test_a_file_that_the_collector_does_not_read_is_refused():
    with pytest.raises(RecipeError, match=r"must end in \.prom"):
        Pretrain(steps=1, prometheus="tubelet.txt")


@pytest.mark.parametrize("links", [True, False])
def test_a_kept_checkpoint_is_a_place_to_go_back_to(tmp_path, corpus, recipes, monkeypatch, links):
    run, whole = tmp_path / "run", tmp_path / "whole"
    words = (f"{recipes}:pixels", "steps=6", "save_every=100", "--on", corpus)
    assert pretrain(*words, "--out", whole) == 0
    assert not (whole / "checkpoints").exists()
    if not links:
        monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(OSError("no second names here")))
    assert pretrain(*words, "keep_every=2", "--out", run) == 0
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert kept == ["step-2.safetensors", "step-4.safetensors", "step-6.safetensors"]
    assert_identical(whole, run)
    (run / "checkpoint.safetensors").write_bytes((run / "checkpoints" / "step-4.safetensors").read_bytes())
    assert pretrain(*words, "--out", run) == 0
    assert [one["step"] for one in steps(run)] == [1, 2, 3, 4, 5, 6]
    assert_identical(whole, run)
