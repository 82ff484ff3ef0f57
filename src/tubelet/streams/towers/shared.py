"""Shared: the clip's encoder, in a pass of its own (siamese)."""

import chz
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from tubelet.models.blocks import initialise
from tubelet.models.encoder import Encoder, positions
from tubelet.models.patches import value_scale
from tubelet.streams.towers.base import Tower, TowerModule
from tubelet.types import Clip


@chz.chz
class Shared(Tower):
    """No weights of its own, but for tubelets of another shape their own embedding. Another grid has its own table of
    positions, which is not learned."""

    def build(self, encoder: Encoder, clip: Clip) -> "SharedTower":
        return SharedTower(encoder, clip)


class SharedTower(TowerModule):
    def __init__(self, encoder: Encoder, clip: Clip):
        super().__init__()
        self.same = clip == encoder.clip
        self.positions: Tensor
        self.scale: Tensor
        self.shift: Tensor
        self.embed: nn.Linear | None = None
        if self.same:
            return
        self.register_buffer("positions", positions(encoder.config, clip), persistent=False)
        if clip.tubelet_values != encoder.clip.tubelet_values:
            self.embed = nn.Linear(clip.tubelet_values, encoder.width)
            initialise(self.embed)
            for name, values in zip(("scale", "shift"), value_scale(clip), strict=True):
                self.register_buffer(name, values, persistent=False)

    def forward(
        self, encoder: Encoder, tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b k d"]:
        if self.same:
            return encoder(tubelets, where)
        if self.embed is None:
            patches = encoder.patches(tubelets)
        else:
            patches = self.embed(tubelets.float() * self.scale + self.shift)
        return encoder.transform(patches + self.positions[where])
