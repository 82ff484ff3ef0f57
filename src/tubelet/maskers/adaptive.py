"""Adaptive: learns where to look (AdaMAE, arXiv 2211.09120): what is hard to reconstruct is shown more often.

A small network gives every tubelet a probability p, the visible ones are drawn by it without replacement, and it is
paid by the reconstruction error l of what it hid: it descends weight * mean over the decoded of -log p * l. That is the
opposite of text guidance, which hides what matters. Invariant: the visible count is floored (.95 of 1568 shows 78), the
probability of a decoded tubelet rises with its error, and neither encoder nor decoder gets any gradient from it.

Ours where we know of nothing in the paper: the patch embeddings come from the encoder, without gradient and without its
positions, and the last layer starts at zero, so that the first masks are random ones.
"""

import math
from dataclasses import replace
from typing import ClassVar

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.maskers.base import TOKENS, Per, Policy, Share
from tubelet.models.blocks import Block, initialise
from tubelet.seeds import gumbel
from tubelet.types import Batch, Clip, Loss, Mask


@chz.chz
class Adaptive(Share):
    needs: ClassVar[tuple[str, ...]] = (TOKENS,)
    per: ClassVar[Per] = "clip"

    ratio: float = chz.field(default=0.95, doc="share of the clip's tubelets that is hidden")
    weight: float = chz.field(default=1e-4, doc="factor of the masker's own loss in the sum")
    heads: int = chz.field(default=8, doc="attention heads of its block; fewer where the encoder is narrow")

    @chz.validate
    def _sensible(self) -> None:
        if not self.weight > 0:
            raise RecipeError(f"masker.weight={self.weight} must be above 0; without learning take masker=Random")
        if self.heads < 1:
            raise RecipeError(f"masker.heads={self.heads} must be at least 1")

    def build(self, clip: Clip, width: int) -> "Sampler":
        return Sampler(self, clip, width)


class Sampler(Policy):
    """Patch embeddings and learned positions through one block and one linear layer to a logit a tubelet."""

    draws_hidden: ClassVar[bool] = False  # what is drawn is visible

    def __init__(self, config: Adaptive, clip: Clip, width: int):
        super().__init__()
        self.config = config
        self.positions = nn.Parameter(torch.zeros(clip.num_tubelets, width))
        self.block = Block(width, fitting_heads(width, config.heads), 4 * width, 1e-6)
        self.logit = nn.Linear(width, 1, bias=False)  # a bias would not change the softmax
        self.apply(initialise)
        nn.init.trunc_normal_(self.positions, std=0.02)
        nn.init.zeros_(self.logit.weight)  # every tubelet alike: it starts as a random mask

    def forward(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Mask:
        if tokens is None:
            raise ValueError("the masker Adaptive got no tokens")
        log_prob = self.log_prob(tokens)
        drawn = log_prob.detach() + gumbel(key, clip.num_tubelets)
        scores = drawn if self.draws_hidden else -drawn
        return replace(Mask.hide_top(scores, self.config.budget(clip)), log_prob=log_prob)

    def log_prob(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
        """Log of the probability that a single draw takes this tubelet; the probabilities of a clip sum to 1."""
        logits = self.logit(self.block(tokens + self.positions)).squeeze(-1)
        return logits.float().log_softmax(-1)

    def loss(self, mask: Mask, error: Float[Tensor, "b q"], batch: Batch) -> Loss:
        assert mask.log_prob is not None
        cost = -(mask.log_prob.gather(1, mask.decode) * error.detach()).mean()
        return Loss(
            self.config.weight * cost, {"masker": cost.detach(), "masker.entropy": entropy(mask.log_prob.detach())}
        )


def entropy(log_prob: Float[Tensor, "b n"]) -> Float[Tensor, ""]:
    """Of the probabilities of a clip, over that of a random mask: 1 where it knows nothing yet."""
    return -(log_prob.exp() * log_prob).sum(-1).mean() / math.log(log_prob.shape[-1])


def fitting_heads(width: int, most: int) -> int:
    """As many heads as divide the width and leave each 16 values or more."""
    return max((heads for heads in range(1, most + 1) if width % heads == 0 and width // heads >= 16), default=1)
