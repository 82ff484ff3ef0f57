"""Match: whether a stream was read beside this clip or beside another (TVLT, arXiv 2209.14156).

Of half of the clips, drawn by their keys, the partner is that of another clip of the step. Both are read before streams
meet, through a cross block of this head: with tokens that have met, there would be nothing to tell (ours; theirs passes
matched and unmatched pairs through the encoder a second time).
"""

import math
from typing import ClassVar

import chz
import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import RecipeError
from tubelet.models.blocks import initialise
from tubelet.models.cross import Cross, CrossBlock
from tubelet.objectives.base import Objective, Sizes
from tubelet.seeds import fold, uniform
from tubelet.types import CLIP, Encoded, Loss


@chz.chz
class Match(Objective):
    of: tuple[str, str] = chz.field(default=(CLIP, "sound"), doc="the two streams")
    width: int = chz.field(default=96, doc="width of the cross block")
    heads: int = chz.field(default=3, doc="attention heads of the cross block")

    compares_clips: ClassVar[bool] = True

    @chz.validate
    def _two(self) -> None:
        if len(set(self.of)) != 2:
            raise RecipeError(f"of={','.join(self.of)} must name two streams")

    @property
    def streams(self) -> tuple[str, ...]:
        return self.of

    def build(self, sizes: Sizes) -> "MatchLoss":
        return MatchLoss(self, sizes)


class MatchLoss(nn.Module):
    """Logs NAME, NAME.baseline (log 2) and NAME.accuracy. With one source alone in the step, all are matched."""

    def __init__(self, config: Match, sizes: Sizes):
        super().__init__()
        self.config, self.name = config, sizes.name
        first, second = (sizes.of(name) for name in config.of)
        self.asks = nn.Linear(first.width, config.width, bias=False)
        self.answers = nn.Linear(second.width, config.width, bias=False)
        self.block = CrossBlock(Cross(width=config.width, heads=config.heads, self_attention=False))
        self.head = nn.Linear(config.width, 1)
        self.apply(initialise)

    def forward(self, seen: Encoded) -> Loss:
        source = seen.batch.source
        if source is None:
            raise ValueError("the objective Match needs the numbers of videos in the batch")
        matched, partner = pairs(fold(seen.batch.key, self.name), source)
        first, second = (seen.of(name) for name in self.config.of)
        with torch.autocast(source.device.type, enabled=False):
            x = self.block(self.asks(first.alone.float()), self.answers(second.alone.float()[partner]))
            scores = self.head(x.mean(1)).squeeze(-1)
            loss = F.binary_cross_entropy_with_logits(scores, matched.float())
        terms = {
            self.name: loss.detach(),
            f"{self.name}.baseline": loss.new_tensor(math.log(2)),
            f"{self.name}.accuracy": ((scores > 0) == matched).float().mean(),
        }
        return Loss(loss, terms)


def pairs(keys: Int64[Tensor, "b"], source: Int64[Tensor, "b"]) -> tuple[Bool[Tensor, "b"], Int64[Tensor, "b"]]:
    """Of each clip whether it keeps its partner (half of them do), and whose partner it is compared with: else that of
    the next clip, in the order of keys, of another source."""
    count = len(keys)
    order = uniform(keys, 1).squeeze(1).argsort()
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(count, device=keys.device))
    own = torch.arange(count, device=keys.device)
    after = order[(rank[:, None] + own[None, 1:] if count > 1 else rank[:, None]) % count]  # b others, the next first
    other = source[after] != source[:, None]
    found = after.gather(1, other.int().argmax(1, keepdim=True)).squeeze(1)
    matched = (rank < (count + 1) // 2) | ~other.any(1)
    return matched, torch.where(matched, own, found)
