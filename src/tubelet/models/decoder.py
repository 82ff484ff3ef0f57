"""The light decoder: it reads the visible tokens and one mask token per hidden position, and writes what was there."""

import math
from typing import Literal

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tubelet.models.blocks import Block, initialise
from tubelet.models.encoder import POSITIONS_OF, check_blocks, check_grid, check_heads
from tubelet.models.patches import grid_table, position_table, stretch
from tubelet.types import Clip

Memory = tuple[Float[Tensor, "b j e"], Int64[Tensor, "b j"]]
"""Tokens of another stream, and where in its clip they stand."""


@chz.chz
class Decoder:
    """VideoMAE's: visible and mask tokens attend to one another; its size is VideoMAE's for every encoder."""

    width: int = chz.field(default=384, doc="width of a token")
    depth: int = chz.field(default=4, doc="number of blocks")
    heads: int = chz.field(default=6, doc="attention heads of a block")
    mlp_ratio: float = chz.field(default=4.0, doc="hidden width of the MLP over the width")
    layer_norm_eps: float = chz.field(
        default=1e-6, doc="transformers has 1e-12 in the blocks and 1e-5 in the last norm"
    )

    positions: Literal["flat", "grid"] = chz.field(
        default="flat",
        doc="flat: VideoMAE's sinusoid of the tubelet's number; grid: time, row and column apart, learned far faster",
    )

    positions_of: tuple[int, int, int] | None = chz.field(default=None, doc=POSITIONS_OF)

    @chz.validate
    def _divisible(self) -> None:
        check_heads("decoder", self.width, self.heads, self.depth)
        check_blocks("decoder", self.width, self.mlp_ratio, self.layer_norm_eps)
        check_grid("decoder", self.positions_of)

    @property
    def memory(self) -> str:
        """The stream whose tokens are attended to beside those that are decoded; "" for none."""
        return ""

    def arrange(self, tokens: Float[Tensor, "b k d"], keys: Int64[Tensor, "b"]) -> Float[Tensor, "b k d"]:
        """The visible tokens in the order in which their positions are added; `keys` are the clips'."""
        return tokens

    def build(
        self, width: int, clip: Clip, values: int | None = None, memory: tuple[int, Clip] | None = None
    ) -> "Reconstructor":
        """For tokens of this width, `values` numbers a tubelet (None: its pixels), and a memory of this width and clip.

        A memory that the decoder does not name is None.
        """
        return Reconstructor(self, width, clip, values)


def positions(config: Decoder, clip: Clip) -> Float[Tensor, "n d"]:
    grid = config.positions_of or clip.grid
    if config.positions == "grid":
        return stretch(grid_table(grid, config.width), grid, clip.grid)
    return stretch(position_table(math.prod(grid), config.width), grid, clip.grid)


class Reconstructor(nn.Module):
    """[visible tokens, mask tokens], each with its position, never put back in order; the last q are predicted."""

    def __init__(self, config: Decoder, width: int, clip: Clip, values: int | None = None):
        super().__init__()
        self.config = config
        self.project = nn.Linear(width, config.width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, int(config.width * config.mlp_ratio), config.layer_norm_eps)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.width, clip.tubelet_values if values is None else values)
        self.apply(initialise)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.positions: Tensor
        self.register_buffer("positions", positions(config, clip), persistent=False)

    def forward(
        self,
        tokens: Float[Tensor, "b k d"],
        visible: Int64[Tensor, "b k"],
        decode: Int64[Tensor, "b q"],
        memory: Memory | None = None,
        hints: Float[Tensor, "b q w"] | None = None,
    ) -> Float[Tensor, "b q p"]:
        """Predicted values of the tubelets `decode`, in the order of `cut`: colour, frame, row, column. `hints` are
        added where they stand."""
        seen = self.project(tokens) + self.positions[visible]
        unseen = self.mask_token + self.positions[decode]
        if hints is not None:
            unseen = unseen + hints
        x = torch.cat((seen, unseen), dim=1)
        *early, final = self.blocks
        for block in early:
            x = block(x)
        return self.head(self.norm(final(x, last=decode.shape[1])))
