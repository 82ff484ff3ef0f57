"""The host waits for no number of a step: on a GPU they are read while the next one is computed."""

import json
from dataclasses import replace

import chz
import pytest
import torch

from support.tasks import DECODER, batch_of, task_of
from tubelet.distributed import DistributedContext
from tubelet.errors import RunError
from tubelet.log import Log
from tubelet.objectives import Pixels
from tubelet.progress import silent
from tubelet.recipes import RECIPES
from tubelet.recipes.pretrain import Pretrain
from tubelet.train import train
from tubelet.types import Batch

TEXT = 12
FIRST = [recipe for recipe in RECIPES if recipe.__name__ in ("tiny", "miniature", "videomae")]


def step_without_values(recipe, look=lambda loss: None):
    """A step of tensors that have no values: who asks for one, or for a shape that hangs on one, fails. (Objectives
    that switch autocast off know no such device.)"""
    config: Pretrain = recipe()
    clip, count = config.clip, 4
    with torch.device("meta"):
        task = config.build(TEXT)
        numbers = torch.arange(count)
        batch = Batch(
            video=torch.zeros(count, 3, clip.frames, clip.size, clip.size, dtype=torch.uint8),
            key=numbers,
            ids=tuple(map(str, range(count))),
            text=torch.zeros(count, TEXT),
            caption=numbers,
            source=numbers,
            maps={name: torch.zeros(count, clip.num_tubelets) for name in task.needs},
        )
        step = task(batch)
        step.loss.backward()
        look(step.loss)
        norms = config.optim.clip(task)
        sums = DistributedContext(torch.device("meta"), "fp32").all_reduce_sum({"loss": step.loss.detach(), **norms})
        assert sums.names == ("loss", "gradient_norm")


@pytest.mark.parametrize("recipe", FIRST, ids=lambda recipe: recipe.__name__)
def test_a_step_on_a_gpu_asks_for_no_value(recipe):
    step_without_values(recipe)


@pytest.mark.parametrize("look", [lambda x: x.item(), lambda x: bool(x > 0), lambda x: x[x > 0]], ids=range(3))
def test_a_step_that_asks_for_its_loss_is_found(look):
    with pytest.raises((RuntimeError, NotImplementedError)):
        step_without_values(FIRST[0], look)


CONFIG = Pretrain(steps=7, batch=3, log_every=3, save_every=5, precision="fp32")
CONTEXT = DistributedContext(torch.device("cpu"), "fp32")


def trained(folder, config=CONFIG, spoil=None):
    """The records of a run of seven steps; the clips of step `spoil` cost infinity."""
    folder.mkdir()
    task = task_of({"pixels": Pixels(decoder=DECODER)})
    batches = (batch_of(3, seed) for seed in range(config.steps))
    if spoil is not None:
        task.register_forward_hook(
            lambda module, inputs, step: replace(step, loss=step.loss / (inputs[0].step != spoil))
        )
    with Log(folder / "log.jsonl") as log:
        train(config, task, batches, print, folder, log, config.steps, CONTEXT, silent)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in ("step", "loss", "gradient_norm", "lr")} for line in lines], task.state_dict()


def test_numbers_that_are_read_a_step_later_are_the_same(tmp_path, monkeypatch):
    at_once, weights = trained(tmp_path / "once")
    monkeypatch.setattr(DistributedContext, "behind", 1)
    later, same = trained(tmp_path / "later")
    assert [record["step"] for record in at_once] == [1, 3, 6, 7]
    assert later == at_once
    assert all(map(torch.equal, weights.values(), same.values()))


@pytest.mark.parametrize("behind", [0, 1])
@pytest.mark.parametrize("spoil", [1, 3, 4])
def test_a_loss_that_is_not_finite_is_named_by_its_own_step_and_never_saved(tmp_path, monkeypatch, behind, spoil):
    monkeypatch.setattr(DistributedContext, "behind", behind)
    config = chz.replace(CONFIG, save_every=2)
    with pytest.raises(RunError, match=f"the loss of step {spoil + 1} is not finite, clips 0, 1"):
        trained(tmp_path / "run", config, spoil)
    assert (tmp_path / "run" / "checkpoint.safetensors").exists() == (spoil > 1)
