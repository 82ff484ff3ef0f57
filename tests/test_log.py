"""The log holds every step once, whatever was cut off; the bar says how the loss stands."""

import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import TubeletError
from tubelet.log import Log, read_log, relative_losses
from tubelet.results import Metric


def write(path, steps, keep=0):
    with Log(path, keep) as log:
        for step in steps:
            log.write("step", step, loss=step / 8)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_log_cut_anywhere_goes_on_without_a_double(tmp_path_factory, cut, share):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    write(path, range(1, 8))
    whole = path.read_bytes()
    path.write_bytes(whole[: round(cut * len(whole))])  # a crash may leave half a line
    keep = round(share * len(read_log(path)))  # the step of the checkpoint
    write(path, range(keep + 1, 8), keep)
    assert [record["step"] for record in read_log(path)] == list(range(1, 8))


def test_records_of_one_step_are_kept_together(tmp_path):
    path = tmp_path / "log.jsonl"
    with Log(path) as log:
        log.write("evaluation", 0, name="linear", metrics={"accuracy": Metric(0.1)})
        log.write("step", 1, loss=1.0)
        log.write("evaluation", 1, name="linear", metrics={"accuracy": Metric(0.2)})
        log.write("step", 2, loss=0.5)
    with Log(path, keep=1):
        pass
    assert [(record["kind"], record["step"]) for record in read_log(path)] == [
        ("evaluation", 0),
        ("step", 1),
        ("evaluation", 1),
    ]
    with Log(path, keep=0):  # no checkpoint: the run starts over
        pass
    assert read_log(path) == []


def test_every_line_is_json_that_any_reader_takes(tmp_path):
    path = tmp_path / "log.jsonl"
    with Log(path) as log:
        log.write("step", 1, loss=float("nan"), failed=["a: bad"], metrics={"x": Metric(float("inf"))})
    line = path.read_text().strip()
    record = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert record["loss"] is None
    assert record["metrics"] == {"x": {"value": None, "unit": "fraction"}}
    assert record["failed"] == ["a: bad"]


def test_a_log_without_a_path_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Log(None) as log:
        log.write("step", 1, loss=1.0)
        log.sync()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_the_numbers_when_it_is_asked_for(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Log(tmp_path / "log.jsonl", tensorboard=True) as log:
        log.write("step", 1, loss=0.5, failed=[])
        log.write("evaluation", 1, name="linear", metrics={"accuracy": Metric(0.25)})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("loss")] == [0.5]
    assert [event.value for event in events.Scalars("linear/accuracy")] == [0.25]


def test_losses_are_shown_relative_to_their_baseline():
    terms = {"pixels": 0.6, "pixels.baseline": 0.8, "contrast": 1.2, "contrast.baseline": 2.4, "other": 1.0}
    assert relative_losses({"loss": 3.0, **terms}) == "pixels 0.750 of baseline  contrast 0.500 of baseline"
    assert relative_losses({"loss": 2.0}) == "loss 2.000"


def test_wandb_and_trackio_are_called_alike_and_a_resumed_run_is_known_again(tmp_path, monkeypatch):
    calls = []

    class Run:
        def log(self, values, step=None):
            calls.append((step, values))

        def finish(self):
            calls.append("finished")

    for name in ("wandb", "trackio"):
        calls.clear()
        (tmp_path / name).mkdir()
        said = []
        init = lambda said=said, **given: said.append(given) or Run()  # noqa: E731
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(init=init))
        for keep in (0, 1):
            with Log(tmp_path / name / "log.jsonl", keep, loggers=(name,), config={"seed": 3}) as log:
                log.write("step", keep + 1, loss=0.5, failed=["a"])
                log.write("evaluation", keep + 1, name="linear", metrics={"accuracy": Metric(0.2)})
        assert calls == [
            (1, {"loss": 0.5}), (1, {"linear/accuracy": 0.2}), "finished",
            (2, {"loss": 0.5}), (2, {"linear/accuracy": 0.2}), "finished",
        ]  # fmt: skip
        assert [one["resume"] for one in said] == ["never", "allow"]
        assert {(one["project"], one["name"], str(one["config"])) for one in said} == {("tubelet", name, "{'seed': 3}")}
        assert len({one.get("id") for one in said}) == 1
        assert ("id" in said[0]) == (name == "wandb")


def test_a_logger_that_is_not_there_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TubeletError, match="`pip install wandb`"):
        Log(tmp_path / "log.jsonl", loggers=("wandb",))
    with pytest.raises(TubeletError, match="there is no logger 'wandbb'; did you mean wandb"):
        Log(tmp_path / "log.jsonl", loggers=("wandbb",))
