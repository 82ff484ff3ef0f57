"""DistilGlobal: the clip as a whole is taught to be the teacher's mean token (VideoPrism, arXiv 2402.13217).

Read from the abstract: a global embedding is distilled beside the tokens. Ours: 1 - cos, and that one learned query
pools the visible tokens.
"""

import chz
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.models.blocks import initialise
from tubelet.objectives.base import Objective, Sizes
from tubelet.objectives.collapse import spread_of
from tubelet.objectives.gather import Ranks
from tubelet.types import CLIP, Encoded, Loss


@chz.chz
class DistilGlobal(Objective):
    on: str = chz.field(default=CLIP, doc="the stream whose pooled visible tokens learn from the teacher")

    @property
    def streams(self) -> tuple[str, ...]:
        return (self.on,)

    @property
    def taught(self) -> tuple[str, ...]:
        return (self.on,)

    def build(self, sizes: Sizes) -> "DistilGlobalLoss":
        return DistilGlobalLoss(self, sizes)


class DistilGlobalLoss(nn.Module):
    """NAME.baseline is the cost of the mean of the teacher's embeddings; NAME.output and NAME.target say how far clips
    are distinguished by what is learned and by the teacher (`objectives.collapse`)."""

    def __init__(self, config: DistilGlobal, sizes: Sizes):
        super().__init__()
        self.config, self.name = config, sizes.name
        own = sizes.of(config.on)
        assert own.teacher is not None
        self.norm = nn.LayerNorm(own.width)
        self.query = nn.Linear(own.width, 1)
        self.head = nn.Linear(own.width, own.teacher.width)
        self.apply(initialise)

    def forward(self, seen: Encoded) -> Loss:
        own = seen.of(self.config.on)
        assert own.teacher is not None
        with torch.autocast(own.tokens.device.type, enabled=False):
            whole = F.normalize(own.teacher.tokens.float().mean(1), dim=-1)
            said, ranks = self.embed(own.tokens), Ranks(len(whole), whole.device)
            loss = cost(said, whole)
            terms = {
                self.name: loss.detach(),
                f"{self.name}.baseline": cost(whole.mean(0, keepdim=True).expand_as(whole), whole),
                **spread_of(said, ranks, f"{self.name}.output"),
                **spread_of(whole, ranks, f"{self.name}.target"),
            }
        return Loss(loss, terms)

    def embed(self, tokens: Float[Tensor, "b k d"]) -> Float[Tensor, "b e"]:
        normal = self.norm(tokens.float())
        return self.head((self.query(normal).softmax(1) * normal).sum(1))


def cost(one: Float[Tensor, "b e"], other: Float[Tensor, "b e"]) -> Float[Tensor, ""]:
    return (1 - F.cosine_similarity(one, other, dim=-1)).mean()
