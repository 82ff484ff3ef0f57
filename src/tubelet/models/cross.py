"""Cross: attends to another stream (SiamMAE, arXiv 2305.14344), or from hidden to visible (DiffMAE, 2304.03283)."""

import chz
import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.models.attention import attend
from tubelet.models.blocks import Attention, Mlp, initialise
from tubelet.models.decoder import Decoder, Memory, Reconstructor, positions
from tubelet.types import Clip


@chz.chz
class Cross(Decoder):
    """In each block cross attention, self attention, MLP, each behind a norm (the order and the norms are ours).

    With a memory, visible and hidden tokens ask and the memory answers; without one the hidden ask and the visible
    answer.
    """

    attend_to: str = chz.field(default="", doc="the stream that is attended to; none: the visible tokens")
    self_attention: bool = chz.field(default=True, doc="tokens that are decoded also attend to one another")
    inpaint: bool = chz.field(default=False, doc="what is hidden is predicted from the other stream alone")

    @chz.validate
    def _from_another(self) -> None:
        if self.inpaint and not self.attend_to:
            raise RecipeError("decoder.inpaint=True predicts from another stream: name it with decoder.attend_to")

    @property
    def memory(self) -> str:
        return self.attend_to

    def build(
        self, width: int, clip: Clip, values: int | None = None, memory: tuple[int, Clip] | None = None
    ) -> "CrossReconstructor":
        return CrossReconstructor(self, width, clip, values, memory)


class CrossReconstructor(Reconstructor):
    def __init__(self, config: Cross, width: int, clip: Clip, values: int | None, memory: tuple[int, Clip] | None):
        super().__init__(chz.replace(config, depth=1), width, clip, values)
        self.config: Cross = config
        self.blocks = nn.ModuleList(CrossBlock(config) for _ in range(config.depth))
        self.blocks.apply(initialise)
        self.recall: nn.Linear | None = None
        if memory is not None:
            self.recall = nn.Linear(memory[0], config.width, bias=False)
            initialise(self.recall)
            self.memory_positions: Tensor
            self.register_buffer("memory_positions", positions(config, memory[1]), persistent=False)

    def forward(
        self,
        tokens: Float[Tensor, "b k d"],
        visible: Int64[Tensor, "b k"],
        decode: Int64[Tensor, "b q"],
        memory: Memory | None = None,
        hints: Float[Tensor, "b q w"] | None = None,
    ) -> Float[Tensor, "b q p"]:
        seen = self.project(tokens) + self.positions[visible]
        x = self.mask_token + self.positions[decode]
        if hints is not None:
            x = x + hints
        if self.recall is None:
            answers = seen
        else:
            assert memory is not None
            answers = self.recall(memory[0]) + self.memory_positions[memory[1]]
            x = x if self.config.inpaint else torch.cat((seen, x), dim=1)
        for block in self.blocks:
            x = block(x, answers)
        return self.head(self.norm(x[:, -decode.shape[1] :]))


class CrossBlock(nn.Module):
    def __init__(self, config: Cross):
        super().__init__()
        width, eps = config.width, config.layer_norm_eps
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.cross = CrossAttention(width, config.heads)
        self.mlp = Mlp(width, int(width * config.mlp_ratio))
        self.own = (
            nn.Sequential(nn.LayerNorm(width, eps=eps), Attention(width, config.heads))
            if config.self_attention
            else None
        )

    def forward(self, x: Float[Tensor, "b n d"], answers: Float[Tensor, "b j d"]) -> Float[Tensor, "b n d"]:
        x = x + self.cross(self.norm1(x), answers)
        if self.own is not None:
            norm, attention = self.own
            x = x + attention(x, norm=norm)
        return x + self.mlp(x, self.norm2)


class CrossAttention(nn.Module):
    """Queries of one sequence, keys and values of another, which is normalised here."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b n d"], answers: Float[Tensor, "b j d"]) -> Float[Tensor, "b n d"]:
        query = rearrange(self.query(x), "b n (h c) -> b n h c", h=self.heads)
        both = rearrange(self.key_value(self.norm(answers)), "b j (two h c) -> b j two h c", two=2, h=self.heads)
        return self.out(attend(query, *both.unbind(2)).flatten(2))
