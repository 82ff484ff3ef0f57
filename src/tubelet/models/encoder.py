"""The encoder: a plain vision transformer over the visible tubelets, weight for weight that of VideoMAE."""

import math

import chz
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tubelet.errors import RecipeError
from tubelet.models.blocks import Block, initialise
from tubelet.models.patches import cut, position_table, stretch, value_scale
from tubelet.types import Clip, Grid, Words
from tubelet.video.sampling import Sampling

POSITIONS_OF = (
    "time steps,rows,columns of the clips whose position table is stretched over these; None: these clips' own"
)


HEADS = {192: 3, 384: 6, 512: 8, 768: 12, 1024: 16, 1280: 16, 1408: 16}
"""Attention heads of the widths that VideoMAE was published with; tensors do not say."""


@chz.chz
class Vit:
    """The size of the encoder: `Tiny`, `Small`, `Base`, `Large`, `Huge` and `Giant` are the usual ones."""

    width: int = chz.field(default=768, doc="width of a token")
    depth: int = chz.field(default=12, doc="number of blocks")
    heads: int = chz.field(default=12, doc="attention heads of a block")
    mlp_ratio: float = chz.field(default=4.0, doc="hidden width of the MLP over the width")
    layer_norm_eps: float = chz.field(default=1e-6, doc="transformers' VideoMAE files were made with 1e-12")
    final_norm: bool = chz.field(
        default=True,
        doc="normalise tokens after the last block; an encoder that was fine-tuned with mean pooling has none",
    )
    positions_of: tuple[int, int, int] | None = chz.field(default=None, doc=POSITIONS_OF)

    @chz.validate
    def _divisible(self) -> None:
        check_heads("encoder", self.width, self.heads, self.depth)
        check_blocks("encoder", self.width, self.mlp_ratio, self.layer_norm_eps)
        check_grid("encoder", self.positions_of)

    def build(self, clip: Clip) -> "Encoder":
        return Encoder(self, clip)


@chz.chz
class Tiny(Vit):
    width: int = chz.field(default=192, doc="width of a token")
    heads: int = chz.field(default=3, doc="attention heads of a block")


@chz.chz
class Small(Vit):
    width: int = chz.field(default=384, doc="width of a token")
    heads: int = chz.field(default=6, doc="attention heads of a block")


@chz.chz
class Base(Vit):
    pass


@chz.chz
class Large(Vit):
    width: int = chz.field(default=1024, doc="width of a token")
    depth: int = chz.field(default=24, doc="number of blocks")
    heads: int = chz.field(default=16, doc="attention heads of a block")


@chz.chz
class Huge(Vit):
    width: int = chz.field(default=1280, doc="width of a token")
    depth: int = chz.field(default=32, doc="number of blocks")
    heads: int = chz.field(default=16, doc="attention heads of a block")


@chz.chz
class Giant(Vit):
    """ViT-g of VideoMAE V2 (arXiv 2303.16727), whose tubelets are of 14 x 14 pixels: `clip.tubelet_size=14`."""

    width: int = chz.field(default=1408, doc="width of a token")
    depth: int = chz.field(default=40, doc="number of blocks")
    heads: int = chz.field(default=16, doc="attention heads of a block")
    mlp_ratio: float = chz.field(default=48 / 11, doc="hidden width of the MLP over the width")


WIDEST, DEEPEST = 1 << 20, 1 << 12  # far beyond what is trained; without an end, building a model would have none


def check_heads(name: str, width: int, heads: int, depth: int) -> None:
    if not 1 <= width <= WIDEST:
        raise RecipeError(f"{name}.width={width} must be at least 1 and at most {WIDEST}")
    if heads < 1 or width % heads:
        raise RecipeError(
            f"{name}.width={width} must be a positive multiple of {name}.heads={heads}; for this width set "
            f"{name}.heads={fitting_heads(width)}"
        )
    if not 1 <= depth <= DEEPEST:
        raise RecipeError(f"{name}.depth={depth} must be at least 1 and at most {DEEPEST}")


def fitting_heads(width: int) -> int:
    """Those that the width was published with; else of 64 channels each, or the divisor that is nearest to that."""
    usual = HEADS.get(width, max(width // 64, 1))
    divisors = (count for count in range(1, width + 1) if width % count == 0)
    return usual if width % usual == 0 else min(divisors, key=lambda count: abs(math.log(width / count / 64)))


def size_of(config: Vit) -> str:
    """How a recipe asks for an encoder of this size."""
    for known in (Tiny, Small, Base, Large, Huge, Giant):
        usual = known()
        if (usual.width, usual.depth, usual.heads, usual.mlp_ratio) == (
            config.width, config.depth, config.heads, config.mlp_ratio,
        ):  # fmt: skip
            return f"encoder={known.__name__}"
    return f"encoder.width={config.width} encoder.depth={config.depth} encoder.heads={config.heads}"


def check_blocks(name: str, width: int, mlp_ratio: float | int, layer_norm_eps: float | int) -> None:
    if not 1 <= width * mlp_ratio <= WIDEST:
        raise RecipeError(
            f"{name}.mlp_ratio={mlp_ratio} makes an MLP of width {width * mlp_ratio:g}; that must be at least 1 and "
            f"at most {WIDEST}"
        )
    if not 0 < layer_norm_eps < 1:
        raise RecipeError(f"{name}.layer_norm_eps={layer_norm_eps} must be more than 0 and less than 1, as 1e-6")


def check_grid(name: str, grid: Grid | None) -> None:
    if grid is not None and min(grid) < 1:
        raise RecipeError(f"{name}.positions_of={','.join(map(str, grid))} must be three numbers of 1 or more")


def positions(config: Vit, clip: Clip) -> Float[Tensor, "n d"]:
    """VideoMAE's table of this clip, or that of another one stretched over it."""
    grid = config.positions_of or clip.grid
    return stretch(position_table(math.prod(grid), config.width), grid, clip.grid)


class WordEmbedding(nn.Embedding):
    def forward(self, tubelets: Float[Tensor, "b k 1"]) -> Float[Tensor, "b k d"]:
        return super().forward(tubelets[..., 0].long())


def embedding(clip: Clip, width: int) -> nn.Linear | WordEmbedding:
    """What makes a token of a tubelet: one linear layer; of a word its own vector."""
    if isinstance(clip, Words):
        return WordEmbedding(clip.vocabulary, width)  # of deviation 1, as large as positions are
    return nn.Linear(clip.tubelet_values, width)


class Encoder(nn.Module):
    def __init__(self, config: Vit, clip: Clip):
        super().__init__()
        self.config = config
        self.clip = clip
        self.width = config.width
        self.sampling = Sampling()  # which frames made a clip in training; `load_encoder` fills it
        self.gradient_checkpointing = False  # keep what enters a block, and compute the block again for its gradient
        self.embed = embedding(clip, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, int(config.width * config.mlp_ratio), config.layer_norm_eps)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps) if config.final_norm else nn.Identity()
        self.apply(initialise)
        scale, shift = value_scale(clip)
        self.scale: Tensor
        self.shift: Tensor
        self.positions: Tensor
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("positions", positions(config, clip), persistent=False)

    def forward(
        self, tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b k d"]:
        """Tokens of the given tubelets (pixel values 0-255), whose positions in the clip are `where`."""
        return self.transform(self.embed_tubelets(tubelets, where))

    def transform(self, x: Float[Tensor, "b k d"]) -> Float[Tensor, "b k d"]:
        """The blocks and the last norm, on tokens that have their positions."""
        return self.norm(self.through(x))

    def through(self, x: Float[Tensor, "b k d"], first: int = 0, end: int | None = None) -> Float[Tensor, "b k d"]:
        """Some of the blocks, all of them unless said otherwise."""
        for block in list(self.blocks)[first:end]:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x

    def embed_tubelets(
        self, tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b k d"]:
        """What enters the first block: normalised pixels through one linear layer, plus the position."""
        return self.patches(tubelets) + self.positions[where]

    def patches(self, tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"]) -> Float[Tensor, "b k d"]:
        """The patch embeddings alone, without positions."""
        return self.embed(torch.addcmul(self.shift, tubelets.float(), self.scale))

    def encode(self, video: UInt8[Tensor, "b 3 t h w"] | Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        """Tokens of the whole clip: nothing hidden."""
        everywhere = torch.arange(self.clip.num_tubelets, device=video.device).expand(len(video), -1)
        return self(cut(video, self.clip), everywhere)
