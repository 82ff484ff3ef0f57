"""Tube: one random spatial mask, the same in every time step (VideoMAE, arXiv 2203.12602).

Invariant: hidden positions do not move.
"""

from typing import ClassVar

import chz
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.maskers.base import Per, Share
from tubelet.seeds import uniform
from tubelet.types import Batch, Clip


@chz.chz
class Tube(Share):
    per: ClassVar[Per] = "position"
    ratio: float = chz.field(default=0.9, doc="share of the positions that is hidden, in every time step the same ones")

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        return uniform(key, clip.num_positions).repeat(1, clip.grid[0])
