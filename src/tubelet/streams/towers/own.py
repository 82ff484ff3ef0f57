"""Own: an encoder of its own, of any size."""

import chz
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tubelet.models.encoder import Encoder, Vit
from tubelet.streams.towers.base import Tower, TowerModule
from tubelet.types import Clip


@chz.chz
class Own(Tower):
    encoder: Vit = chz.field(default_factory=Vit, doc="the size of the stream's encoder")

    def width(self, encoder: int) -> int:
        return self.encoder.width

    def build(self, encoder: Encoder, clip: Clip) -> "OwnTower":
        return OwnTower(self.encoder.build(clip))


class OwnTower(TowerModule):
    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(
        self, encoder: Encoder, tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b k d"]:
        return self.encoder(tubelets, where)
