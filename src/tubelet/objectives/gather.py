"""Rows of every rank, with the gradient of every rank: what negatives across ranks need."""

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, distributed


class Ranks:
    """How many rows each rank brings. Ranks may differ: a clip that cannot be read is left out on one of them."""

    def __init__(self, rows: int, device: torch.device):
        self.counts = [rows]
        self.rank = 0
        if distributed.is_available() and distributed.is_initialized():
            counts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(distributed.get_world_size())]
            distributed.all_gather(counts, torch.tensor([rows], device=device))
            self.counts = [int(count) for count in counts]
            self.rank = distributed.get_rank()

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def own(self) -> slice:
        """Where the rows of this rank stand among all."""
        first = sum(self.counts[: self.rank])
        return slice(first, first + self.counts[self.rank])

    def gather(self, rows: Shaped[Tensor, "b *shape"]) -> Shaped[Tensor, "all *shape"]:
        """The rows of all ranks in order of rank. Backward, each row gets the sum of what all ranks send it."""
        return rows if len(self.counts) == 1 else Gather.apply(rows, self)


class Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        padded = rows.new_zeros((max(ranks.counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in ranks.counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, ranks.counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total[ctx.ranks.own], None
