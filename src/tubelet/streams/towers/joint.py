"""Joint: tokens of stream and clip attend to one another (Audiovisual MAE, arXiv 2212.05922; TVLT, 2209.14156).

Embedding and first blocks are the stream's own; through the last blocks of the clip's encoder both go together. Before
these they are normalised without weights, for what compares streams and may not see one in the other (ours).
"""

import chz
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.models.blocks import Block, initialise
from tubelet.models.encoder import Encoder, embedding, positions
from tubelet.models.patches import value_scale
from tubelet.streams.towers.base import Tower, TowerModule
from tubelet.types import Clip


@chz.chz
class Joint(Tower):
    blocks: int = chz.field(default=0, doc="blocks of the stream's own, before it meets the clip")
    last: int | None = chz.field(default=None, doc="blocks of the encoder that both go through together; None: all")

    @chz.validate
    def _counts(self) -> None:
        if self.blocks < 0 or (self.last is not None and self.last < 1):
            raise RecipeError(f"tower.blocks={self.blocks} must be 0 or more, and tower.last={self.last} 1 or more")

    def build(self, encoder: Encoder, clip: Clip) -> "JointTower":
        depth = len(encoder.blocks)
        if self.last is not None and self.last > depth:
            raise RecipeError(f"tower.last={self.last} is more than the {depth} blocks of the encoder")
        return JointTower(self, encoder, clip)


class JointTower(TowerModule):
    def __init__(self, config: Joint, encoder: Encoder, clip: Clip):
        super().__init__()
        own = encoder.config
        self.first = 0 if config.last is None else len(encoder.blocks) - config.last  # block where the streams meet
        self.embed = embedding(clip, own.width)
        self.kind = nn.Parameter(torch.zeros(own.width))  # tells the stream's tokens from the clip's
        self.blocks = nn.ModuleList(
            Block(own.width, own.heads, int(own.width * own.mlp_ratio), own.layer_norm_eps)
            for _ in range(config.blocks)
        )
        self.apply(initialise)
        nn.init.trunc_normal_(self.kind, std=0.02)
        self.positions: Tensor
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("positions", positions(chz.replace(own, positions_of=None), clip), persistent=False)
        for name, values in zip(("scale", "shift"), value_scale(clip), strict=True):
            self.register_buffer(name, values, persistent=False)

    def early(
        self, tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b k d"]:
        """Tokens that have not met the clip's."""
        x = self.embed(tubelets.float() * self.scale + self.shift) + self.positions[where] + self.kind
        for block in self.blocks:
            x = block(x)
        return x

    def forward(
        self,
        encoder: Encoder,
        tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"],
        where: Int64[Tensor, "b k"],
    ) -> Float[Tensor, "b k d"]:
        """Without the clip."""
        return encoder.norm(encoder.through(self.early(tubelets, where), self.first))
