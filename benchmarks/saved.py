"""Bytes that a step keeps for its backward pass, of one clip more."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def saved_bytes(loss: Callable[[], Tensor], model: nn.Module) -> int:
    """Storage that the backward pass keeps, without parameters and buffers: each piece once, a view as its whole."""
    own = {part.untyped_storage().data_ptr() for part in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss()  # alive until the count is read, so that no address is used twice
    total = sum(kept.values())
    del value
    return total


def saved_per_clip(loss: Callable[[int], Tensor], model: nn.Module) -> int:
    """Bytes of a batch of two clips more than of one: what does not grow with the batch is left out."""
    one, two = (saved_bytes(lambda count=count: loss(count), model) for count in (1, 2))  # type: ignore[misc]
    return two - one
