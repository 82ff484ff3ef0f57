"""Captioning: the next word of a caption, from those before it and the clip (CoCa, arXiv 2205.01917).

A decoder of causal blocks, each with cross attention to the clip's tokens. From the paper, not read in code: a decoder
that attends to the encoder's tokens, cross-entropy of the next word. Ours: one decoder (theirs has a first half that
sees text alone, whose last token is contrasted), words by their hash.
"""

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import RecipeError
from tubelet.models.blocks import Mlp, initialise
from tubelet.models.cross import CrossAttention
from tubelet.models.encoder import check_heads
from tubelet.models.patches import position_table
from tubelet.objectives.base import Objective, Sizes
from tubelet.objectives.gather import Ranks
from tubelet.types import CLIP, Encoded, Loss, Words

END = 0  # the number that ends a caption: that of no word


@chz.chz
class Captioning(Objective):
    """The mean over the words of each clip and the end of its caption."""

    on: str = chz.field(default=CLIP, doc="the stream that is described")
    words: str = chz.field(default="words", doc="the stream of words, as streams.words.signal=Words")
    width: int = chz.field(default=96, doc="width of the decoder")
    depth: int = chz.field(default=2, doc="number of its blocks")
    heads: int = chz.field(default=3, doc="attention heads of a block")

    @chz.validate
    def _divisible(self) -> None:
        check_heads("captioning", self.width, self.heads, self.depth)

    @property
    def streams(self) -> tuple[str, ...]:
        return (self.on,)

    @property
    def values(self) -> tuple[str, ...]:
        return (self.words,)

    def build(self, sizes: Sizes) -> "CaptioningLoss":
        return CaptioningLoss(self, sizes)


class CaptioningLoss(nn.Module):
    """Logs NAME, NAME.accuracy of the next word where those before are given, and NAME.baseline: what knowing how
    often each word occurs on all ranks costs, and no more."""

    def __init__(self, config: Captioning, sizes: Sizes):
        super().__init__()
        self.config, self.name = config, sizes.name
        clip = sizes.of(config.words).clip
        if not isinstance(clip, Words):
            raise RecipeError(
                f"objectives.{sizes.name} learns to say words, and the stream {config.words} holds none; give it "
                f"streams.{config.words}.signal=Words"
            )
        self.vocabulary, self.longest = clip.vocabulary, clip.frames
        self.embed = nn.Embedding(clip.vocabulary, config.width)  # 0, the end of a caption, is its beginning too
        self.positions: Tensor
        self.register_buffer("positions", position_table(clip.frames, config.width), persistent=False)
        self.answers = nn.Linear(sizes.of(config.on).width, config.width, bias=False)
        self.blocks = nn.ModuleList(CausalBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, clip.vocabulary)
        self.apply(initialise)

    def forward(self, seen: Encoded) -> Loss:
        words = seen.of(self.config.words).tubelets[..., 0].long()
        scores = self.scores(seen.of(self.config.on).alone, words[:, :-1]).float()
        there = torch.cat((torch.ones_like(words[:, :1]), words[:, :-1]), 1) != END  # those after the end are not said
        weight = there / there.sum(1, keepdim=True)
        cost = F.cross_entropy(scores.movedim(-1, 1), words, reduction="none")
        loss = (cost * weight).sum(1).mean()
        ranks = Ranks(len(words), words.device)
        counts = torch.bincount(
            ranks.gather(words).flatten(), ranks.gather(weight).flatten(), minlength=self.vocabulary
        )
        terms = {
            self.name: loss.detach(),
            f"{self.name}.baseline": torch.special.entr(counts / ranks.total).sum(),
            f"{self.name}.accuracy": ((scores.argmax(-1) == words) & there).sum() / there.sum(),
        }
        return Loss(loss, terms)

    def scores(self, tokens: Float[Tensor, "b k d"], words: Int64[Tensor, "b w"]) -> Float[Tensor, "b w1 v"]:
        """Of every word that may come first, after the first of these, and so on: one more than there are words."""
        begun = F.pad(words, (1, 0), value=END)
        x = self.embed(begun) + self.positions[: begun.shape[1]]
        answers = self.answers(tokens)
        for block in self.blocks:
            x = block(x, answers)
        return self.head(self.norm(x))

    @torch.no_grad()
    def say(self, tokens: Float[Tensor, "b k d"]) -> Int64[Tensor, "b w"]:
        """The most likely word, one after another; 0 from the end on."""
        words = torch.empty(len(tokens), 0, dtype=torch.int64, device=tokens.device)
        for _ in range(self.longest):
            following = self.scores(tokens, words)[:, -1].argmax(-1, keepdim=True)
            if words.shape[1]:
                following = following.masked_fill(words[:, -1:] == END, END)
            words = torch.cat((words, following), 1)
        return words


class CausalBlock(nn.Module):
    """Attention to the words so far, to the clip, and an MLP, each behind a norm."""

    def __init__(self, config: Captioning):
        super().__init__()
        width = config.width
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.heads = config.heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.cross = CrossAttention(width, config.heads)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Float[Tensor, "b w d"], answers: Float[Tensor, "b k d"]) -> Float[Tensor, "b w d"]:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).movedim(1, -2).unbind(1)  # b h w c
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        x = x + self.cross(self.norm2(x), answers)
        return x + self.mlp(x, self.norm3)
