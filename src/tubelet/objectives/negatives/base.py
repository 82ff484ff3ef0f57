"""Negatives say what a view is compared with, beside its partner."""

from dataclasses import dataclass

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


@dataclass(frozen=True)
class Candidates:
    """Rows of length 1 that queries are compared with. Rows of one number are no negatives of each other."""

    rows: Float[Tensor, "c e"]
    numbers: Int64[Tensor, "c"]

    def __add__(self, other: "Candidates") -> "Candidates":
        return Candidates(torch.cat((self.rows, other.rows)), torch.cat((self.numbers, other.numbers)))


class NegativesModule(nn.Module):
    def candidates(self, keys: Candidates, queries: Candidates | None) -> Candidates:
        """Those of queries whose partners are `keys`, both of all ranks; the partners come first, in order. `queries`
        None: another network made the keys."""
        raise NotImplementedError

    def remember(self, keys: Candidates) -> None:
        """Called once a step of the training, after the loss, with the keys of all ranks."""


class Memory(NegativesModule):
    """The last `size` keys of all ranks, the oldest first, without gradient; empty at the start. In the checkpoint."""

    def __init__(self, size: int, width: int):
        super().__init__()
        self.size = size
        self.rows: Tensor
        self.numbers: Tensor
        self.filled: Tensor
        self.register_buffer("rows", torch.zeros(size, width))
        self.register_buffer("numbers", torch.full((size,), -1))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def remember(self, keys: Candidates) -> None:
        """New tensors, not new values: the loss of this step still needs the old ones for its gradient."""
        self.rows = torch.cat((self.rows, keys.rows.detach().to(self.rows)))[-self.size :]
        self.numbers = torch.cat((self.numbers, keys.numbers))[-self.size :]
        self.filled = (self.filled + len(keys.rows)).clamp(max=self.size)

    @property
    def kept(self) -> Candidates:
        count = int(self.filled)
        return Candidates(self.rows[self.size - count :], self.numbers[self.size - count :])


@chz.chz
class Negatives:
    """A frozen config that builds a module for embeddings of this width."""

    def build(self, width: int) -> NegativesModule:
        raise NotImplementedError
