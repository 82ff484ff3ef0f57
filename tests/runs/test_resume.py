"""A run that is stopped, in whatever way, and run again is the run that never stopped: bit for bit."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from support.small_runs import assert_identical, pretrain, start, steps, tensors, wait_for_step
from tubelet.checkpoint import checkpoint_step

STEPS = 40


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, corpus, recipes) -> Path:
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("runs") / "uninterrupted"
    assert pretrain(f"{recipes}:both", f"steps={STEPS}", "save_every=7", "--on", corpus, "--out", run) == 0
    return run


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_run_killed_at_a_random_step_ends_with_the_same_weights(
    tmp_path, corpus, recipes, uninterrupted, workers, capsys
):
    run = tmp_path / "run"
    command = (
        f"{recipes}:both",
        f"steps={STEPS}",
        "save_every=7",
        f"data.workers={workers}",
        "--on",
        corpus,
        "--out",
        run,
    )
    step = int(np.random.default_rng().integers(1, STEPS - 15))
    process = start(*command)
    wait_for_step(process, run, step)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    saved = checkpoint_step(run / "checkpoint.safetensors")
    with (run / "log.jsonl").open("ab") as log:
        log.write(b'{"kind": "step", "st')  # as a power cut may leave it

    assert pretrain(*command) == 0
    assert (f"resuming from step {saved} of {STEPS}" in capsys.readouterr().err) == (saved > 0)
    assert [record["step"] for record in steps(run)] == list(range(1, STEPS + 1))
    assert_identical(run, uninterrupted)
    for one, other in zip(steps(run), steps(uninterrupted), strict=True):
        assert (one["loss"], one["gradient_norm"], one["lr"]) == (other["loss"], other["gradient_norm"], other["lr"])


def whole_and_interrupted(tmp_path: Path, *words: object) -> Path:
    """A run that was stopped on its way and went on is the whole one, which is returned."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = (*words, f"steps={STEPS}", "save_every=7")
    assert pretrain(*words, "--out", whole) == 0
    stopper = threading.Thread(target=interrupt_after, args=(cut, 5, signal.SIGINT), daemon=True)
    stopper.start()
    assert pretrain(*words, "--out", cut) == 130
    stopper.join()
    assert pretrain(*words, "--out", cut) == 0
    assert_identical(whole, cut)
    return whole


def test_a_scheduled_mask_goes_on_bit_for_bit_from_its_first_mask_on(tmp_path, corpus, recipes):
    whole = whole_and_interrupted(tmp_path, f"{recipes}:scheduled", "--on", corpus)
    first = ("masker=Text", "masker.ratio=0.25", "masker.pick=sample", "masker.temperature=3")
    assert pretrain(f"{recipes}:scheduled", *first, "steps=2", "--on", corpus, "--out", tmp_path / "first") == 0
    ours, theirs = steps(whole), steps(tmp_path / "first")
    assert ours[0]["pixels"] == theirs[0]["pixels"]
    assert ours[0]["pixels.flat"] == theirs[0]["pixels.flat"]


def test_a_learned_masker_goes_on_bit_for_bit(tmp_path, corpus, recipes):
    whole = whole_and_interrupted(tmp_path, f"{recipes}:adaptive", "--on", corpus)
    assert {"task.policy.logit.weight", "optimizer.policy.logit.weight.exp_avg"} <= tensors(whole).keys()
    entropies = [record["masker.entropy"] for record in steps(whole)]
    assert entropies[0] == pytest.approx(1.0)
    assert min(entropies) < 0.999


KILLED_WHILE_WRITING = """
import os, pathlib, signal, sys
moment, run, left = sys.argv[1], pathlib.Path(sys.argv[-1]), 2
real = getattr(os, moment)
def deadly(*arguments):
    global left
    if (run / ".checkpoint.safetensors.part").exists():
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
setattr(os, moment, deadly)
from tubelet.cli import main
main(["pretrain", *sys.argv[2:]])
"""


@pytest.mark.parametrize("moment", [pytest.param("fsync", marks=pytest.mark.slow), "replace"])
def test_a_run_killed_while_its_second_checkpoint_is_written_goes_on(tmp_path, corpus, recipes, uninterrupted, moment):
    run = tmp_path / "run"
    command = (f"{recipes}:both", f"steps={STEPS}", "save_every=7", "--on", str(corpus), "--out", str(run))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, moment, *command],
        capture_output=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (run / ".checkpoint.safetensors.part").exists()
    assert checkpoint_step(run / "checkpoint.safetensors") == 7
    assert steps(run)[-1]["step"] == 14
    assert pretrain(*command) == 0
    assert_identical(run, uninterrupted)
    assert not (run / ".checkpoint.safetensors.part").exists()


def test_ctrl_c_in_a_terminal_saves_the_step_and_says_how_to_go_on(tmp_path, corpus, recipes, uninterrupted, capsys):
    """It reaches every process of the terminal, the loader's too, and a live bar is on the screen."""
    run = tmp_path / "run"
    command = (f"{recipes}:both", f"steps={STEPS}", "save_every=1000", "data.workers=2", "--on", corpus, "--out", run)
    process = start(*command, env={"FORCE_COLOR": "1"})
    wait_for_step(process, run, 3)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130, said
    stopped = steps(run)[-1]["step"]
    assert 3 <= stopped < STEPS
    assert f"stopped and saved at step {stopped} of {STEPS}; the same command resumes from there" in said
    assert "Traceback" not in said
    assert pretrain(*command) == 0
    assert f"resuming from step {stopped} of {STEPS}" in capsys.readouterr().err
    assert_identical(run, uninterrupted)


def test_sigterm_saves_too(tmp_path, corpus, recipes, capsys):
    run = tmp_path / "run"
    stopper = threading.Thread(target=interrupt_after, args=(run, 2, signal.SIGTERM), daemon=True)
    stopper.start()
    assert pretrain(f"{recipes}:both", "steps=1000", "save_every=1000", "--on", corpus, "--out", run) == 75
    stopper.join()
    assert f"stopped and saved at step {checkpoint_step(run / 'checkpoint.safetensors')}" in capsys.readouterr().err


def interrupt_after(run: Path, step: int, number: signal.Signals) -> None:
    while not (run / "log.jsonl").exists() or len(steps(run)) < step:
        threading.Event().wait(0.005)
    signal.pthread_kill(threading.main_thread().ident, number)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
def test_any_number_of_loader_workers_gives_the_same_weights(tmp_path, corpus, recipes, uninterrupted):
    for workers in (1, 3):
        run = tmp_path / str(workers)
        words = (f"steps={STEPS}", "save_every=1000", f"data.workers={workers}")
        assert pretrain(f"{recipes}:both", *words, "--on", corpus, "--out", run) == 0
        assert_identical(run, uninterrupted)


def test_the_workers_of_a_run_may_change_when_it_goes_on(tmp_path, corpus, recipes, uninterrupted, monkeypatch):
    run = tmp_path / "run"
    command = (f"{recipes}:both", f"steps={STEPS}", "--on", corpus, "--out", run)
    stopper = threading.Thread(target=interrupt_after, args=(run, 3, signal.SIGINT), daemon=True)
    stopper.start()
    assert pretrain(*command, "save_every=40", "data.workers=2") == 130
    stopper.join()
    assert pretrain(*command, "save_every=11", "data.workers=0") == 0
    assert_identical(run, uninterrupted)


def test_two_passes_accumulated_are_one_of_twice_the_size(tmp_path, corpus, recipes):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for run, words in ((whole, ("batch=4",)), (halves, ("batch=2", "accumulate=2"))):
        words = (*words, "steps=6", "precision=fp32")
        assert pretrain(f"{recipes}:pixels", *words, "--on", corpus, "--out", run) == 0
    for one, other in zip(steps(whole), steps(halves), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=2e-6)
        assert one["lr"] == other["lr"]
    ours, theirs = tensors(whole), tensors(halves)
    for name in ours:
        if name.startswith("task."):
            torch.testing.assert_close(ours[name], theirs[name], atol=2e-6, rtol=0)
