"""Shared: the clip's encoder, or what encodes another stream, in a pass of its own (siamese)."""

from collections.abc import Mapping

import chz
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from tubelet.models.blocks import initialise
from tubelet.models.encoder import Encoder, WordEmbedding, embedding, positions
from tubelet.models.patches import value_scale
from tubelet.streams.towers.base import Tower, TowerModule
from tubelet.types import CLIP, Clip


@chz.chz
class Shared(Tower):
    """No weights of its own, but for tubelets of another shape their own embedding. Another grid has its own table of
    positions, which is not learned."""

    of: str = chz.field(default=CLIP, doc="the stream whose weights these are, of equal clips; clip: the encoder's")

    def build(self, encoder: Encoder, clip: Clip) -> TowerModule:
        return SharedTower(encoder, clip) if self.of == CLIP else Second(self.of)


class Second(TowerModule):
    """Stands for the tower of another stream."""

    def __init__(self, of: str):
        super().__init__()
        self.of = of


def tower_of(towers: Mapping[str, nn.Module], name: str) -> TowerModule:
    """What encodes a stream: its own, or that of the stream whose weights it shares."""
    tower = towers[name]
    tower = towers[tower.of] if isinstance(tower, Second) else tower
    assert isinstance(tower, TowerModule)
    return tower


class SharedTower(TowerModule):
    def __init__(self, encoder: Encoder, clip: Clip):
        super().__init__()
        self.same = clip == encoder.clip
        self.positions: Tensor
        self.scale: Tensor
        self.shift: Tensor
        self.embed: nn.Linear | WordEmbedding | None = None
        if self.same:
            return
        self.register_buffer("positions", positions(encoder.config, clip), persistent=False)
        if clip.tubelet_values != encoder.clip.tubelet_values:
            self.embed = embedding(clip, encoder.width)
            initialise(self.embed)
            for name, values in zip(("scale", "shift"), value_scale(clip), strict=True):
                self.register_buffer(name, values, persistent=False)

    def forward(
        self, encoder: Encoder, tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b k d"]:
        return encoder.transform(self.enter(encoder, tubelets, where))

    def enter(
        self, encoder: Encoder, tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b k d"]:
        """What enters the first block."""
        if self.same:
            return encoder.embed_tubelets(tubelets, where)
        if self.embed is None:
            patches = encoder.patches(tubelets)
        else:
            patches = self.embed(tubelets.float() * self.scale + self.shift)
        return patches + self.positions[where]
