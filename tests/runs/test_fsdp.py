"""Weights that ranks divide (FSDP2): what they learn, and how they are saved while training goes on."""

import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import tubelet
from support.ranks import call_forked, run_forked
from support.small_runs import assert_close, assert_identical, steps, tensors
from tubelet.checkpoint import CHECKPOINT, Saver, checkpoint_step, state_of
from tubelet.checksums import read_safetensors, write_safetensors
from tubelet.cli import main
from tubelet.distributed import DistributedContext, is_rank0
from tubelet.optim import Optim
from tubelet.recipes import Pretrain
from tubelet.sharded import whole
from tubelet.train import wrap

pytestmark = pytest.mark.timeout(900)

HARMED = """
import os, resource, signal
import chz
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from tubelet import checkpoint

def kill(*_):
    signal.raise_signal(signal.SIGKILL)

def write_and_kill(self, *words, write=HuggingFaceStorageWriter.write_data):
    write(self, *words).wait()
    if f"-{os.environ['KILL_WRITING']}." in str(self.path):
        kill()
    return write(self, *words)

def read_and_kill(folder, tensors, read=checkpoint.read_parts):
    if f"-{os.environ['KILL_JOINING']}." in folder.name:
        kill()
    read(folder, tensors)

if os.environ.get("RANK") == "1" and "KILL_WRITING" in os.environ:
    HuggingFaceStorageWriter.write_data = write_and_kill
if "KILL_JOINING" in os.environ:
    checkpoint.read_parts = read_and_kill
if "LIMIT" in os.environ:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["LIMIT"]),) * 2)

@chz.chz
class Stopping(Tube):
    def scores(self, batch, clip, key, tokens=None):
        if str(batch.step + 1) == os.environ.get("STOP_AFTER"):
            signal.raise_signal(signal.SIGTERM)
        return super().scores(batch, clip, key, tokens)

def six():
    return chz.replace(both(), masker=Stopping(ratio=0.5), batch=3, steps=6, save_every=2, precision="fp32")
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory, corpus, recipes) -> Path:
    """The same run of two ranks with weights that are whole, and that are divided; and a model that both ways save."""
    folder = tmp_path_factory.mktemp("pair")
    codes, said = call_forked(folder, 2, train_and_save, folder, corpus, f"{recipes}:both")
    assert codes == [0, 0], said
    return folder


def train_and_save(folder: Path, corpus: Path, recipe: str) -> None:
    for name, fsdp in (("whole", False), ("divided", True)):
        words = {
            "steps": 3,
            "accumulate": 2,
            "save_every": 2,
            "keep_every": 2,
            "gradient_checkpointing": True,
            "fsdp": fsdp,
        }
        tubelet.pretrain(recipe, on=corpus, out=folder / name, **words)
    torch.manual_seed(0)
    task = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))  # rows that two ranks cannot share alike
    task = wrap(task, DistributedContext.here("fp32"), Pretrain(steps=1, fsdp=True))
    optimizer = Optim().build(task)
    task(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
    Saver(folder / CHECKPOINT, task, optimizer).save(1, keep=True, wait=True)
    state = {name: whole(value).detach() for name, value in state_of(task, optimizer).items()}
    if is_rank0():
        write_safetensors(folder / "at once.safetensors", state, {"format": "1", "step": "1"})


def test_two_ranks_that_divide_weights_train_what_two_whole_ones_train(pair):
    """Losses and weights within 2e-6, where a step is of two passes and blocks are computed again."""
    one, other = pair / "whole", pair / "divided"
    for ours, theirs in zip(steps(one), steps(other), strict=True):
        for term in ("loss", "pixels", "contrast", "gradient_norm"):
            assert ours[term] == pytest.approx(theirs[term], rel=2e-6), (term, ours["step"])
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        allowed = 2e-6 * float(value.abs().max())
        torch.testing.assert_close(value, theirs[name], atol=allowed, rtol=0, msg=name)


def test_parts_that_ranks_write_become_the_file_that_is_written_at_once_bit_for_bit(pair):
    (ours, about), (theirs, about_theirs) = (
        read_safetensors(pair / name) for name in (CHECKPOINT, "at once.safetensors")
    )
    assert about == about_theirs
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        assert torch.equal(value, theirs[name]), name


def test_checkpoints_that_are_kept_are_files_of_their_own_and_no_part_is_left(pair):
    for run, step in ((pair / "divided", 2), (pair, 1)):
        assert checkpoint_step(run / "checkpoints" / f"step-{step}.safetensors") == step
        assert not [path for path in run.rglob("*") if path.is_dir() and path.name.startswith(".")]


@pytest.mark.slow
def test_every_command_reads_a_run_of_divided_weights(pair, corpus, tmp_path):
    run = pair / "divided"
    assert tubelet.load_encoder(run).width == 32
    assert main(["evaluate", str(run), "--on", str(corpus), "knn"]) == 0
    assert main(["export", str(run), "--to", "torch", "--out", str(tmp_path / "encoder.pt")]) == 0
    assert main(["report", str(run), "--out", str(tmp_path / "report.html")]) == 0


@pytest.fixture(scope="module")
def train(tmp_path_factory, corpus, recipes):
    """`tubelet pretrain` of six steps, with what happens to it on the way."""
    mine = tmp_path_factory.mktemp("harmed") / "mine.py"
    mine.write_text(recipes.read_text() + HARMED)

    def run(folder: Path, ranks: int, *words: str, **env: object) -> tuple[list[int | None], str]:
        said = tmp_path_factory.mktemp("said")
        words = ("pretrain", f"{mine}:six", *words, "--on", str(corpus), "--out", str(folder))
        return run_forked(said, ranks, *words, env={name: str(value) for name, value in env.items()})

    return run


@pytest.fixture(scope="module")
def six(tmp_path_factory, train) -> Path:
    folder = tmp_path_factory.mktemp("six") / "run"
    codes, said = train(folder, 2, "fsdp=True")
    assert codes == [0, 0], said
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("when", ["KILL_WRITING", "KILL_JOINING"])
def test_a_rank_that_is_killed_while_it_saves_leaves_the_checkpoint_before_and_the_run_goes_on(
    six, train, tmp_path, when
):
    run = tmp_path / "run"
    codes, said = train(run, 2, "fsdp=True", **{when: 4})
    assert sorted(codes, key=str) == [-signal.SIGKILL, 2], said
    assert checkpoint_step(run / CHECKPOINT) == 2
    if when == "KILL_JOINING":  # else the first rank, which lives, has removed it
        assert [path.name for path in run.glob(".*.part")] == [".checkpoint-4.part"]
    codes, said = train(run, 2, "fsdp=True")
    assert codes == [0, 0], said
    assert "resuming from step 2" in said
    assert_identical(six, run)
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in six.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "turns",
    [((2, True), (1, True), (3, True)), ((2, True), (2, False), (2, True))],
    ids=["2 ranks, 1 and 3", "divided, whole and divided"],
)
def test_a_run_of_divided_weights_resumes_on_other_ranks_and_with_whole_weights(six, train, tmp_path, turns):
    run = tmp_path / "run"
    for number, (ranks, fsdp) in enumerate(turns, 1):
        env = {"STOP_AFTER": 2 * number} if number < len(turns) else {}
        codes, said = train(run, ranks, f"fsdp={fsdp}", **env)
        assert codes == [75 if env else 0] * ranks, said
        assert checkpoint_step(run / CHECKPOINT) == 2 * number
    assert_close(six, run, ("pixels", "contrast"))


@pytest.mark.slow
def test_a_disk_that_is_full_is_said_in_a_line_and_no_part_is_left(six, train, tmp_path):
    run = tmp_path / "run"
    codes, said = train(run, 2, "fsdp=True", LIMIT=20_000)
    assert codes == [2, 2], said
    assert "file too large; make room, and the same command resumes from what is done" in said
    assert "Traceback" not in said
    assert not list(run.glob(".*.part"))
    assert train(run, 2, "fsdp=True")[0] == [0, 0]
    assert_identical(six, run)


@pytest.mark.slow
def test_evaluations_on_the_way_see_the_weights_of_the_moment(train, tmp_path):
    """The best step is that of whole weights, and its weights are."""
    runs = tmp_path / "whole", tmp_path / "divided"
    for run, fsdp in zip(runs, (False, True), strict=True):
        codes, said = train(run, 2, f"fsdp={fsdp}", "evaluations.knn=Knn", "keep_best=knn", "evaluate_every=2")
        assert codes == [0, 0], said
    ours, theirs = (load_file(run / "best.safetensors") for run in runs)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=2e-6 * float(value.abs().max()), rtol=0, msg=name)
