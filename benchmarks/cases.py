"""What is measured: a size, a share that is hidden, a number type; and what its arithmetic is."""

from dataclasses import dataclass
from typing import Literal

from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Base, Giant, Huge, Large, Small, Vit
from tubelet.types import Clip, floor_share

Dtype = Literal["fp32", "bf16"]
DTYPES: tuple[Dtype, ...] = ("fp32", "bf16")


@dataclass(frozen=True)
class Size:
    clip: Clip
    encoder: Vit
    decoder: Decoder
    batch: int = 1  # clips of a step, if nothing else is said

    def visible(self, ratio: float) -> int:
        """Tubelets that a tube mask leaves visible."""
        return self.clip.grid[0] * (self.clip.num_positions - floor_share(self.clip.num_positions, ratio))


SIZES = {
    "tiny": Size(Clip(frames=4, size=64), Vit(width=64, depth=2, heads=2), Decoder(width=32, depth=2, heads=2)),
    "S112": Size(Clip(size=112), Small(), Decoder(width=192, heads=3), batch=2),
    "S224": Size(Clip(), Small(), Decoder(width=192, heads=3)),
    "B224": Size(Clip(), Base(), Decoder()),
    "L224": Size(Clip(), Large(), Decoder(width=512, heads=8)),
    "H224": Size(Clip(), Huge(), Decoder(width=640, heads=8)),
    "g224": Size(Clip(tubelet_size=14), Giant(), Decoder(width=512, heads=8)),
}
"""ViT-S, B, L, H and g with the widths that VideoMAE and VideoMAE V2 publish, and a decoder of four blocks."""


@dataclass(frozen=True)
class Case:
    size: str
    ratio: float
    dtype: Dtype
    batch: int = 1

    def __str__(self) -> str:
        return f"{self.size} {self.ratio:g} {self.dtype}".replace(" 0.", " .")

    @property
    def of(self) -> Size:
        return SIZES[self.size]


def step_flops(size: Size, visible: int) -> float:
    """Of one clip, forward and backward, by the closed formula: the same number for every implementation.

    Every hidden tubelet is decoded, and the last block of the decoder computes all tokens. No gradient goes to pixels,
    so the embedding counts twice and all else three times.
    """
    return 2 * embedding_flops(size, visible) + 3 * (
        blocks_flops(size.encoder, visible) + decoding_flops(size, visible)
    )


def forward_flops(size: Size, visible: int) -> float:
    """Of one clip up to its loss."""
    return embedding_flops(size, visible) + blocks_flops(size.encoder, visible) + decoding_flops(size, visible)


def feature_flops(size: Size) -> float:
    """Of the encoder on a whole clip, forward."""
    tokens = size.clip.num_tubelets
    return embedding_flops(size, tokens) + blocks_flops(size.encoder, tokens)


def embedding_flops(size: Size, tokens: int) -> float:
    return 2 * size.clip.tubelet_values * size.encoder.width * tokens


def blocks_flops(vit: Vit | Decoder, tokens: int) -> float:
    """Queries, keys, values and their product with the output (8 d^2), the MLP (4 r d^2), two products of attention."""
    d, hidden = vit.width, int(vit.width * vit.mlp_ratio)
    return vit.depth * (8 * d**2 * tokens + 4 * d * hidden * tokens + 4 * tokens**2 * d)


def decoding_flops(size: Size, visible: int) -> float:
    tokens, e = size.clip.num_tubelets, size.decoder.width
    head = 2 * size.clip.tubelet_values * e * (tokens - visible)
    return 2 * visible * size.encoder.width * e + blocks_flops(size.decoder, tokens) + head
