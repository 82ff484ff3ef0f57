"""A checkpoint holds everything, fits exactly or not at all, and is never half written."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tubelet.checkpoint import (
    CHECKPOINT,
    checkpoint_step,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from tubelet.errors import WeightsError
from tubelet.optim import Optim


def model(width=6):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, width), nn.GELU(), nn.Linear(width, 2))


def descend(task, optimizer, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        task(torch.randn(8, 4, generator=generator)).square().mean().backward()
        optimizer.step()


def test_a_loaded_checkpoint_goes_on_bit_for_bit(tmp_path):
    task = model()
    optimizer = Optim(base_lr=1e-2, floor_lr=0.0).build(task)
    descend(task, optimizer, 3, seed=0)
    save_checkpoint(tmp_path / CHECKPOINT, task, optimizer, 3)
    descend(task, optimizer, 2, seed=1)

    again = model()
    resumed = Optim(base_lr=1e-2, floor_lr=0.0).build(again)
    assert load_checkpoint(tmp_path / CHECKPOINT, again, resumed) == checkpoint_step(tmp_path / CHECKPOINT) == 3
    descend(again, resumed, 2, seed=1)
    for name, value in task.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_file_is_plain_safetensors_under_plain_names(tmp_path):
    task = model()
    optimizer = Optim().build(task)
    descend(task, optimizer, 1, seed=0)
    save_checkpoint(tmp_path / CHECKPOINT, task, optimizer, 1)
    names = set(load_file(tmp_path / CHECKPOINT))
    assert {"task.0.weight", "optimizer.0.weight.exp_avg", "optimizer.2.bias.exp_avg_sq"} <= names
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_weights_that_do_not_fit_are_named_and_nothing_is_loaded(tmp_path):
    small = model(width=6)
    save_checkpoint(tmp_path / CHECKPOINT, small, Optim().build(small), 1)
    large = model(width=7)
    before = {name: value.clone() for name, value in large.state_dict().items()}
    with pytest.raises(WeightsError, match=r"0\.weight is \(6, 4\), not \(7, 4\)"):
        load_weights(tmp_path / CHECKPOINT, large)
    deeper = nn.Sequential(*model(), nn.Linear(2, 2))
    with pytest.raises(WeightsError, match=r"3\.weight is missing"):
        load_weights(tmp_path / CHECKPOINT, deeper)
    with pytest.raises(WeightsError, match=r"2\.bias is not known"):
        load_weights(tmp_path / CHECKPOINT, nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2, bias=False)))
    assert all(torch.equal(before[name], value) for name, value in large.state_dict().items())


def test_a_missing_or_damaged_file_is_one_clear_line(tmp_path):
    with pytest.raises(WeightsError, match="no checkpoint"):
        load_weights(tmp_path / CHECKPOINT, model())
    assert checkpoint_step(tmp_path / CHECKPOINT) == 0
    (tmp_path / CHECKPOINT).write_bytes(b"not a safetensors file at all")
    for read in (lambda: load_weights(tmp_path / CHECKPOINT, model()), lambda: checkpoint_step(tmp_path / CHECKPOINT)):
        with pytest.raises(WeightsError, match="cannot be read") as error:
            read()
        assert "\n" not in str(error.value)
