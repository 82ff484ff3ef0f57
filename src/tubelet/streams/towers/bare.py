"""Bare: not encoded; objectives read its values (the words that a captioning decoder learns to say)."""

import chz
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tubelet.models.encoder import Encoder
from tubelet.streams.towers.base import Tower, TowerModule
from tubelet.types import Clip


@chz.chz
class Bare(Tower):
    def build(self, encoder: Encoder, clip: Clip) -> "BareTower":
        return BareTower()


class BareTower(TowerModule):
    def forward(
        self, encoder: Encoder, tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b 0 d"]:
        """No tokens."""
        return torch.empty(len(where), 0, encoder.width, device=where.device)
