"""DistilTokens: the visible tokens are taught to be the teacher's at the same positions (UMT, arXiv 2303.16058).

From the code: the loss, 2 - 2 cos, on visible tokens alone, and the head, a linear layer and a norm. Ours: one head, on
the last block (UMT has one on each of several), and no second addition of positions to the tokens that it reads.
"""

from dataclasses import replace

import chz
import torch
from torch import nn

from tubelet.models.blocks import initialise
from tubelet.objectives.base import Objective, Sizes
from tubelet.objectives.collapse import spread_of
from tubelet.objectives.gather import Ranks
from tubelet.objectives.targets import Features
from tubelet.types import CLIP, Encoded, Loss


@chz.chz
class DistilTokens(Objective):
    on: str = chz.field(default=CLIP, doc="the stream whose visible tokens learn from the teacher")
    target: Features = chz.field(
        default_factory=lambda: Features(normalise=False, loss="cosine"), doc="what of the teacher's tokens is learned"
    )

    @property
    def streams(self) -> tuple[str, ...]:
        return (self.on,)

    @property
    def taught(self) -> tuple[str, ...]:
        return (self.on,)

    def build(self, sizes: Sizes) -> "DistilTokensLoss":
        return DistilTokensLoss(self, sizes)


class DistilTokensLoss(nn.Module):
    """NAME.baseline is the cost of the mean of the teacher's tokens; NAME.output and NAME.target say how far clips are
    distinguished by what is learned and by the teacher (`objectives.collapse`)."""

    def __init__(self, config: DistilTokens, sizes: Sizes):
        super().__init__()
        self.config, self.name = config, sizes.name
        own = sizes.of(config.on)
        width = config.target.width(own)
        self.head = nn.Sequential(nn.Linear(own.width, width), nn.LayerNorm(width, eps=1e-6))
        self.head.apply(initialise)

    def forward(self, seen: Encoded) -> Loss:
        own = seen.of(self.config.on)
        with torch.autocast(own.tokens.device.type, enabled=False):
            said = self.head(own.tokens.float())
            scored = replace(own, mask=replace(own.mask, decode=own.mask.visible))
            scores = self.config.target.score(said, scored)
            ranks = Ranks(len(said), said.device)
            assert own.teacher is not None
            spreads = spread_of(said, ranks, f"{self.name}.output")
            spreads |= spread_of(own.teacher.tokens, ranks, f"{self.name}.target")
        loss = scores.per_token.mean()
        terms = {self.name: loss.detach(), f"{self.name}.baseline": scores.baseline, **spreads}
        return Loss(loss, terms | {f"{self.name}.{term}": value for term, value in scores.terms.items()})
