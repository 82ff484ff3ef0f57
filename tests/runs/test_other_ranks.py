"""A run goes on with another number of ranks: its steps are of the same clips, shared otherwise."""

from pathlib import Path

import pytest
import torch

from support.ranks import run_forked
from support.small_runs import assert_identical, steps, tensors
from tubelet.checkpoint import checkpoint_step
from tubelet.errors import RunError
from tubelet.recipes import Pretrain
from tubelet.runs.folder import read_recipe

pytestmark = pytest.mark.timeout(900)

STOPPING = """
import os, signal
import chz

@chz.chz
class Stopping(Tube):
    def scores(self, batch, clip, key, tokens=None):
        if str(batch.step + 1) == os.environ.get("STOP_AFTER"):
            signal.raise_signal(signal.SIGTERM)
        return super().scores(batch, clip, key, tokens)

def alone():
    return chz.replace(pixels(), masker=Stopping(ratio=0.5), batch=3, steps=6, save_every=100, precision="fp32")

def compared():
    return chz.replace(both(), masker=Stopping(ratio=0.5), batch=3, steps=6, save_every=100, precision="fp32")
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory, recipes) -> Path:
    path = tmp_path_factory.mktemp("stopping") / "mine.py"
    path.write_text(recipes.read_text() + STOPPING)
    return path


@pytest.fixture(scope="module")
def through(tmp_path_factory, corpus, mine):
    """A run of six steps on these numbers of ranks in turn, two steps each where it is stopped."""

    def run(recipe: str, *worlds: int) -> Path:
        folder = tmp_path_factory.mktemp("runs") / recipe
        for number, world in enumerate(worlds, 1):
            env = {"STOP_AFTER": str(2 * number)} if number < len(worlds) else {}
            words = ("pretrain", f"{mine}:{recipe}", "--on", corpus, "--out", folder)
            codes, said = run_forked(folder.parent / f"said {number}", world, *words, env=env)
            assert len(set(codes)) == 1, said
            assert (codes[0] == 0) == (number == len(worlds)), said
            assert checkpoint_step(folder / "checkpoint.safetensors") == min(2 * number, 6) or not env
            told = "the steps of a run that" in said
            assert told == (world != worlds[0]), said
        return folder

    return run


@pytest.fixture(scope="module")
def alone(through) -> Path:
    return through("alone", 2)


def test_two_ranks_then_one_are_two_ranks_bit_for_bit_where_clips_teach_each_for_itself(alone, through):
    """The one takes in two passes what each of the two took in one: the same sums of two, in halves."""
    changed = through("alone", 2, 1)
    assert_identical(alone, changed)
    assert read_recipe(changed)["processes"] == 2


def assert_same_steps(one: Path, other: Path) -> None:
    """Sums of the same numbers in another order, each of which rounds at 6e-8."""
    for ours, theirs in zip(steps(one), steps(other), strict=True):
        assert ours["lr"] == theirs["lr"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=2e-6)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-5)
    ours, theirs = tensors(one), tensors(other)
    for name in (name for name in ours if name.endswith(".exp_avg")):
        allowed = 5e-5 * float(ours[name].abs().max()) + 1e-9
        torch.testing.assert_close(ours[name], theirs[name], atol=allowed, rtol=0, msg=name)


@pytest.mark.slow
def test_two_ranks_then_one_then_three_train_what_two_train(alone, through):
    assert_same_steps(alone, through("alone", 2, 1, 3))


@pytest.mark.slow
def test_clips_that_are_compared_stay_together_on_any_number_of_ranks(through):
    """Six clips of a forward pass are negatives of each other, whether two ranks hold them, one or three."""
    assert_same_steps(through("compared", 2), through("compared", 2, 1, 3))


@pytest.mark.slow
def test_a_number_of_ranks_that_cannot_share_a_step_alike_is_refused_and_named(alone, corpus, mine, tmp_path):
    words = ("pretrain", f"{mine}:alone", "--on", corpus, "--out", tmp_path / "run")
    stopped, said = run_forked(tmp_path, 1, *words, env={"STOP_AFTER": "2"})
    assert stopped != [0], said
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    codes, said = run_forked(tmp_path, 2, *words)
    assert codes == [2, 2]
    assert "a step of this run is 3 clips, begun on 1 processes, which 2 cannot share alike" in said
    assert "resume it on 1 or 3" in said
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("begun", "before", "now", "shared"),
    [
        ({"batch": 8}, 4, 8, (4, 1)),
        ({"batch": 8}, 4, 2, (8, 2)),
        ({"batch": 8, "accumulate": 3}, 4, 1, (8, 12)),
        ({"batch": 3}, 2, 3, (2, 1)),
        ({"batch": 64}, 3, 2, (48, 2)),
        ({"batch": 8, "accumulate": 3}, 4, 3, (8, 4)),
    ],
)
def test_no_rank_takes_more_clips_at_once_than_when_the_run_began(begun, before, now, shared):
    config = Pretrain(steps=1, **begun)
    divided = config.divided(before, now)
    assert (divided.batch, divided.accumulate) == shared
    assert divided.batch * divided.accumulate * now == config.batch * config.accumulate * before
    assert divided.total(1000, now) == config.total(1000, before)


def test_a_step_of_an_odd_number_of_clips_has_no_half():
    with pytest.raises(RunError, match=r"resume it on 1 or 5"):
        Pretrain(steps=1, batch=5).divided(1, 2)
