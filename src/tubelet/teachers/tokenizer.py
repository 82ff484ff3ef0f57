"""Tokenizer: the encoder and the codebook of a run of `vq`, as they are (BEiT, arXiv 2106.08254)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import chz
import torch
from torch import nn

from tubelet.errors import RecipeError
from tubelet.models.codebook import Codebook
from tubelet.models.encoder import Encoder
from tubelet.teachers.frozen import Frozen, FrozenTeacher
from tubelet.types import Batch, Clip, Encoded


@chz.chz
class Tokenizer(Frozen):
    """A frozen teacher that also says, of each of its tokens, which code is nearest."""

    read: ClassVar[tuple[str, ...]] = (*Frozen.read, "codebook")

    codebook: tuple[int, int] | None = chz.field(
        default=None, doc="number and width of its codes; None: read from the source"
    )

    @property
    def codes(self) -> int:
        return self.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        _ = self.sizes
        if self.codebook is None:
            raise RecipeError(f"teacher.init={self.init}: its codes are unknown; give teacher.codebook=NUMBER,WIDTH")
        return self.codebook

    def build(self, encoder: Encoder, towers: Mapping[str, nn.Module]) -> "TokenizerTeacher":
        own, clip = self.sizes
        return TokenizerTeacher(own.build(clip), Codebook(own.width, *self.shape))


class TokenizerTeacher(FrozenTeacher):
    def __init__(self, encoder: Encoder, codebook: Codebook):
        super().__init__(encoder)
        self.codebook = codebook.requires_grad_(False)

    @torch.no_grad()
    def forward(self, batch: Batch, clip: Clip, stream: str) -> Encoded:
        seen = super().forward(batch, clip, stream)
        return replace(seen, codes=self.codebook(seen.tokens)[1])
