"""PartPriority: uninformative parts stay visible, informative ones are hidden (MARLIN, arXiv 2211.06627).

Of a face the ground stays visible first, then skin, and only then eyes, nose and mouth.

As in its code: in the first frame of every tubelet, parts become visible one after another, those in `first` and then
the others in an order drawn from the key, until the share that stays visible is reached; of all that are visible then,
some are hidden again at random, so that counts are equal. Ours: a tubelet belongs to the one part that has most of it.
A clip without any part (no face was found) hides at random. Invariant: the visible count is floored; while a part of
higher priority suffices for a time step, nothing else of it is visible.
"""

from typing import ClassVar

import chz
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from tubelet.errors import RecipeError
from tubelet.maskers.base import Per, Share
from tubelet.seeds import fold, uniform
from tubelet.types import Batch, Clip


@chz.chz
class PartPriority(Share):
    needs: ClassVar[tuple[str, ...]] = ("parts",)
    per: ClassVar[Per] = "clip"

    ratio: float = chz.field(default=0.9, doc="share of the clip's tubelets that is hidden")
    first: tuple[int, ...] = chz.field(
        default=(0, 1), doc="numbers of the parts that become visible before all others, in this order"
    )

    @chz.validate
    def _each_once(self) -> None:
        if len(set(self.first)) < len(self.first) or min(self.first, default=0) < 0:
            raise RecipeError(f"masker.first={self.first} must name parts by their numbers, from 0, each once")

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        noise = uniform(key, clip.num_tubelets)
        return torch.where(self.candidates(batch.maps["parts"], clip, key), noise, 2 + noise)

    def candidates(
        self, shares: Float[Tensor, "b n parts"], clip: Clip, key: Int64[Tensor, "b"]
    ) -> Bool[Tensor, "b n"]:
        """The tubelets of which the visible ones are drawn."""
        parts = shares.shape[-1]
        if max(self.first, default=0) >= parts:
            raise RecipeError(f"masker.first={self.first}: the maps have {parts} parts, numbered from 0")
        part = shares.argmax(-1).unflatten(1, (clip.grid[0], -1))  # b time_steps positions
        priority = len(self.first) + uniform(fold(key, "parts"), parts)
        for place, number in enumerate(self.first):
            priority[:, number] = place
        order = priority.argsort(dim=1)[:, None].expand(-1, clip.grid[0], -1)  # b time_steps parts
        counts = functional.one_hot(part, parts).sum(2).gather(2, order)
        before = counts.cumsum(2) - counts
        enough = (1 - self.ratio) * clip.num_positions - 1e-9
        shown = torch.zeros_like(before, dtype=torch.bool).scatter(2, order, before < enough)
        nowhere = (shares == 0).all(2).all(1)
        return shown.gather(2, part).flatten(1) | nowhere[:, None]
