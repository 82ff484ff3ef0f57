"""A scheduler wants the machine back, a rank is killed or its loss is no number: what is saved, said and done again."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from support.ranks import run_forked
from support.small_runs import assert_identical, pretrain, start_ranks, steps
from tubelet.checkpoint import checkpoint_step
from tubelet.corpus.table import Corpus
from tubelet.interrupt import Interruption, exit_code, outlive, preemptible
from tubelet.loading.data import Data
from tubelet.loading.loader import clips_of

pytestmark = pytest.mark.timeout(900)

FAILING = """
import os, signal
from dataclasses import replace
import chz

@chz.chz
class Failing(Tube):
    def scores(self, batch, clip, key, tokens=None):
        rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
        first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if first and f"{batch.step + 1} {rank}" == os.environ.get("STEP_AND_RANK"):
            signal.raise_signal(signal.Signals[os.environ["SIGNAL"]])
        return super().scores(batch, clip, key, tokens)

@chz.chz
class NoNumber(Pixels):
    def build(self, sizes):
        module = super().build(sizes)
        real = module.forward
        def forward(seen):
            loss = real(seen)
            bad = f"{seen.batch.step + 1} {os.environ.get('RANK')}" == os.environ.get("NAN_AT")
            return replace(loss, value=loss.value * float("nan")) if bad else loss
        module.forward = forward
        return module

def failing():
    objectives = {"pixels": NoNumber(decoder=Decoder(width=32, depth=1, heads=2))}
    return chz.replace(pixels(), masker=Failing(ratio=0.5), objectives=objectives, batch=2, steps=5, save_every=2)
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory, recipes) -> str:
    path = tmp_path_factory.mktemp("failing") / "mine.py"
    path.write_text(recipes.read_text() + FAILING)
    return f"{path}:failing"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_schedulers_signal_saves_the_step_and_ends_with_75(tmp_path, corpus, mine, monkeypatch, number):
    run = tmp_path / "run"
    monkeypatch.setenv("SIGNAL", number.name)
    monkeypatch.setenv("STEP_AND_RANK", "3 0")
    assert pretrain(mine, "--on", corpus, "--out", run) == 75
    assert checkpoint_step(run / "checkpoint.safetensors") == 3
    monkeypatch.delenv("STEP_AND_RANK")
    assert pretrain(mine, "--on", corpus, "--out", run) == 0


def test_a_scheduler_that_repeats_itself_waits_for_the_checkpoint():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGUSR1)
        interruption.when -= 10
        signal.raise_signal(signal.SIGTERM)
        assert interruption.preempted
        interruption.stopped(preempted=True)
    assert exit_code() == 75
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        interruption.when -= 10
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_outside_the_loop_a_schedulers_signal_ends_the_command_with_75_in_one_line(capsys, number):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit, match="75"), preemptible("pretrain"):
        signal.raise_signal(number)
    assert signal.getsignal(number) == before
    assert capsys.readouterr().err == (
        f"tubelet pretrain: {number.name} has stopped it; the same command resumes from what is done\n"
    )


def test_a_loader_process_outlives_sigterm_for_as_long_as_a_checkpoint_may_take():
    child = os.fork()
    if child == 0:
        outlive(signal.SIGUSR1)
        assert signal.alarm(0) == 0
        outlive(signal.SIGTERM)
        os._exit(signal.alarm(0))  # the seconds that were left
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (19, 20)


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_all_tasks_of_srun_save_one_step_and_end_with_75_where_one_of_them_was_signalled(tmp_path, corpus, mine, world):
    run = tmp_path / "run"
    words = ("pretrain", mine, "--on", corpus, "--out", run)
    env = {"SIGNAL": "SIGUSR1", "STEP_AND_RANK": "3 1"}
    codes, said = run_forked(tmp_path, world, *words, env=env, by="srun")
    assert codes == [75] * world, said
    assert said.count("stopped and saved at step 3 of 5; the same command resumes from there") == 1
    codes, said = run_forked(tmp_path, world, *words, by="srun")
    assert codes == [0] * world, said
    assert [record["step"] for record in steps(run)] == [1, 2, 3, 4, 5]


def clips_in(corpus: Path, step: int, rank: int, world: int) -> list[str]:
    videos = Corpus.open(corpus).select("train")
    return clips_of(videos, Data(), batch=2, seed=0, world=world)(step - 1, rank)


@pytest.mark.parametrize("dead", [2, pytest.param(0, marks=pytest.mark.slow)])
def test_a_rank_that_is_killed_is_named_with_its_step_and_its_clips(tmp_path, corpus, mine, dead):
    words = ("pretrain", mine, "--on", corpus, "--out", tmp_path / "run")
    env = {"SIGNAL": "SIGKILL", "STEP_AND_RANK": f"4 {dead}"}
    codes, said = run_forked(tmp_path, 3, *words, env=env)
    assert codes[dead] == -signal.SIGKILL
    assert codes.count(2) == 2, said
    named = f"rank {dead} of 3 (in step 4, clips {', '.join(clips_in(corpus, 4, dead, 3))}) is gone"
    assert said.count(named) == (1 if dead else 2), said
    assert "the same command resumes from the last checkpoint" in said
    assert checkpoint_step(tmp_path / "run" / "checkpoint.safetensors") == 2


@pytest.mark.slow
def test_a_loss_that_is_no_number_names_the_rank_and_its_clips(tmp_path, corpus, mine):
    words = ("pretrain", mine, "--on", corpus, "--out", tmp_path / "run")
    codes, said = run_forked(tmp_path, 2, *words, env={"NAN_AT": "3 1"})
    assert codes == [2, 2], said
    clips = ", ".join(f"{name} on rank 1" for name in clips_in(corpus, 3, 1, 2))
    assert f"the loss of step 3 is not finite, clips {clips};" in said
    assert said.count("not finite") == 1
    assert checkpoint_step(tmp_path / "run" / "checkpoint.safetensors") == 2


@pytest.mark.slow
def test_torchrun_restarts_the_ranks_after_a_kill_and_the_run_ends_as_if_nothing_had_happened(
    tmp_path, corpus, mine, monkeypatch
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    codes, said = run_forked(tmp_path, 2, "pretrain", mine, "--on", corpus, "--out", whole)
    assert codes == [0, 0], said
    monkeypatch.setenv("SIGNAL", "SIGKILL")
    monkeypatch.setenv("STEP_AND_RANK", "4 1")
    process = start_ranks("pretrain", mine, "--on", corpus, "--out", cut, options=("--max-restarts", "1"))
    said = process.communicate(timeout=500)[1]
    assert process.returncode == 0, said
    assert "resuming from step 2 of 5" in said
    assert_identical(whole, cut)


BLOCK = re.compile(r'```bash title="pretrain.sbatch"\n(.*?)```', re.DOTALL)


@pytest.mark.parametrize(("code", "requeued"), [(75, True), (0, False), (1, False)])
def test_the_documented_job_requeues_what_was_preempted_and_nothing_else(tmp_path, code, requeued):
    [script] = BLOCK.findall((Path(__file__).parents[2] / "docs" / "clusters.md").read_text())
    assert "srun" in script
    for name, body in (("srun", f"exit {code}"), ("scontrol", 'echo "$@" >> "$ASKED"')):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    asked = tmp_path / "asked"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711", "ASKED": str(asked)}
    ended = subprocess.run(["bash", "-c", script], env=env, check=False)
    assert ended.returncode == (0 if requeued else code)
    assert (asked.read_text() if asked.exists() else "") == ("requeue 4711\n" if requeued else "")
