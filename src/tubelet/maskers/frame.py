"""Frame: whole time steps are hidden, drawn at random (ST-MAE's time-only masks, arXiv 2205.09113).

Invariant: a time step is hidden whole or not at all; the hidden time steps are floored.
"""

from typing import ClassVar

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.maskers.base import Masker
from tubelet.seeds import uniform
from tubelet.types import Batch, Budget, Clip, floor_share


@chz.chz
class Frame(Masker):
    ratio: float = chz.field(default=0.75, doc="share of the time steps that is hidden")

    def budget(self, clip: Clip) -> Budget:
        return Budget(floor_share(clip.grid[0], self.ratio) * clip.num_positions, "clip", clip.grid)

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        return uniform(key, clip.grid[0]).repeat_interleave(clip.num_positions, dim=1)


@chz.chz
class Future(Frame):
    """The last time steps are hidden: prediction. The same for every clip."""

    random: ClassVar[bool] = False

    ratio: float = chz.field(default=0.5, doc="share of the time steps that is hidden, from the end")

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        time = torch.arange(clip.grid[0], device=key.device).repeat_interleave(clip.num_positions)
        return time.float().expand(len(key), -1)


@chz.chz
class Past(Frame):
    """The first time steps are hidden: what led here. The same for every clip."""

    random: ClassVar[bool] = False

    ratio: float = chz.field(default=0.5, doc="share of the time steps that is hidden, from the beginning")

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        time = torch.arange(clip.grid[0], device=key.device).repeat_interleave(clip.num_positions)
        return -time.float().expand(len(key), -1)
