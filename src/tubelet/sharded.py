"""Weights that ranks divide among them (FSDP2): how a whole tensor is made of its parts, and parts of a whole one."""

from typing import Any

import torch
from torch import Tensor, nn


def is_part(tensor: Tensor) -> bool:
    """Whether it is a DTensor, whose module takes a second to import."""
    return hasattr(tensor, "full_tensor")


def is_sharded(module: nn.Module) -> bool:
    return any(is_part(parameter) for parameter in module.parameters())


def whole(tensor: Any) -> Tensor:
    """All of a tensor, on every rank, which all must ask for it."""
    return tensor.full_tensor() if is_part(tensor) else tensor


def sharded_like(own: Any, tensor: Tensor) -> Tensor:
    """This rank's part of a whole tensor, where `own`, of the same shape, is divided."""
    if not is_part(own) or own.shape != tensor.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


@torch.no_grad()
def copy_weights(sharded: nn.Module, task: nn.Module) -> None:
    """Fills the task with the weights of its sharded copy."""
    if sharded is not task:
        own = task.state_dict()
        for name, value in sharded.state_dict().items():
            own[name].copy_(whole(value))
