"""Nearest: each partner gives way to the nearest of many earlier ones (NNCLR, arXiv 2104.14548)."""

import chz
import torch

from tubelet.errors import RecipeError
from tubelet.objectives.negatives.base import Candidates, Memory, Negatives


@chz.chz
class Nearest(Negatives):
    """Negatives are the neighbours of the other clips' partners. Ours: clips with one neighbour are no negatives of
    each other, which in a small bank they often have; and the bank is empty in the first step, where partners stay."""

    size: int = chz.field(default=4096, doc="earlier embeddings that are searched")

    @chz.validate
    def _positive(self) -> None:
        if self.size < 1:
            raise RecipeError(f"negatives.size={self.size} must be at least 1")

    def build(self, width: int) -> "NearestMemory":
        return NearestMemory(self.size, width)


class NearestMemory(Memory):
    @torch.no_grad()
    def candidates(self, keys: Candidates, queries: Candidates | None) -> Candidates:
        bank = self.kept.rows
        if not len(bank):
            return Candidates(keys.rows.detach(), keys.numbers)
        nearest = (keys.rows @ bank.T).argmax(-1)
        return Candidates(bank[nearest], nearest)
