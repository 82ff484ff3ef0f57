"""InstanceContrast: two views of one clip find each other among those of other clips (SimCLR, MoCo, NNCLR, IIC)."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import RecipeError
from tubelet.models.average import Average
from tubelet.objectives.base import Objective, Sizes
from tubelet.objectives.collapse import spread_of
from tubelet.objectives.gather import Ranks
from tubelet.objectives.heads import projector
from tubelet.objectives.negatives import Candidates, InBatch, Negatives
from tubelet.optim import Trainable
from tubelet.types import CLIP, Encoded, Loss, Words


@chz.chz
class InstanceContrast(Objective):
    """The mean of each view's tokens through an MLP, at length 1. Both views are queries; against a teacher's keys the
    first alone is. Views of one video are never negatives of each other; of words, equal captions are not."""

    compares_clips: ClassVar[bool] = True

    of: tuple[str, str] = chz.field(default=(CLIP, "second"), doc="the two streams that are views of one clip")
    by: Literal["student", "teacher"] = chz.field(default="student", doc="who makes the second view's embedding")
    negatives: Negatives = chz.field(default_factory=InBatch, doc="what else a view is compared with")
    against: tuple[str, ...] = chz.field(default=(), doc="streams of the same clip that are negatives too")
    hidden: int = chz.field(default=512, doc="hidden width of the MLP")
    width: int = chz.field(default=128, doc="width of the space in which views are compared")
    layers: int = chz.field(default=2, doc="linear layers of the MLP")
    predictor: bool = chz.field(default=False, doc="a further MLP on the side of the queries alone")
    temperature: float = chz.field(default=0.1, doc="what similarities are divided by")
    decay: float = chz.field(default=0.99, doc="with by=teacher: what of the MLP's running average stays at a step")

    @chz.validate
    def _sensible(self) -> None:
        if len({*self.of, *self.against}) < 2 + len(self.against):
            raise RecipeError(f"of={','.join(self.of)} and against={','.join(self.against)} must name each stream once")
        if not self.temperature > 0:
            raise RecipeError(f"temperature={self.temperature:g} must be positive")
        if min(self.hidden, self.width, self.layers) < 1:
            raise RecipeError("hidden, width and layers of an MLP must be at least 1")
        if not 0 <= self.decay <= 1:
            raise RecipeError(f"decay={self.decay:g} must be from 0 to 1")

    @property
    def streams(self) -> tuple[str, ...]:
        return (*(self.of if self.by == "student" else self.of[:1]), *self.against)

    @property
    def taught(self) -> tuple[str, ...]:
        return self.of[1:] if self.by == "teacher" else ()

    def build(self, sizes: Sizes) -> "InstanceContrastLoss":
        return InstanceContrastLoss(self, sizes)


class InstanceContrastLoss(Trainable):
    """Logs NAME, NAME.baseline (what a head costs that cannot tell candidates apart) and NAME.accuracy, and of the
    first view NAME.rank and NAME.std, and NAME.output of what is compared (`objectives.collapse`).

    NAME.shuffled is the cost with another clip of the step in the partner's place: while NAME is not below it, clips
    are not distinguished, whatever the baseline. Earlier keys of a queue can be distinguished from today's by their age
    alone, most of all while the teacher still moves fast; so the loss may begin far below the baseline and rise as it
    settles."""

    def __init__(self, config: InstanceContrast, sizes: Sizes):
        super().__init__()
        self.config = config
        self.name = sizes.name
        read = {name: sizes.of(name) for name in config.streams}
        read |= {f"{name} (of the teacher)": sizes.of(name).teacher or sizes.of(name) for name in config.taught}
        self.of_words = any(isinstance(size.clip, Words) for size in read.values())
        width, *others = (size.width for size in read.values())
        if {*others} != {width}:
            raise RecipeError(
                f"objectives.{sizes.name}: one MLP reads {', '.join(read)}, whose tokens have widths "
                f"{', '.join(map(str, (width, *others)))}; they must be equal"
            )
        self.project = projector(width, config.hidden, config.width, config.layers)
        self.predict = projector(config.width, config.hidden, config.width, 2) if config.predictor else nn.Identity()
        self.negatives = config.negatives.build(config.width)
        self.keys = Average(self.project, config.decay) if config.by == "teacher" else None

    def forward(self, seen: Encoded) -> Loss:
        source = seen.batch.caption if self.of_words else seen.batch.source
        if source is None:
            raise ValueError("the objective InstanceContrast needs the numbers of videos or captions in the batch")
        first, second = (seen.of(name) for name in self.config.of)
        with torch.autocast(source.device.type, enabled=False):
            ranks = Ranks(len(source), source.device)
            numbers = ranks.gather(source)
            a = pooled(self.project, first)
            against = [F.normalize(pooled(self.project, seen.of(name)), dim=-1) for name in self.config.against]
            if self.keys is None:
                b = pooled(self.project, second)
                all_a, all_b = (Candidates(ranks.gather(F.normalize(view, dim=-1)), numbers) for view in (a, b))
                sides = [(a, self.negatives.candidates(all_b, all_a)), (b, self.negatives.candidates(all_a, all_b))]
            else:
                assert second.teacher is not None
                with torch.no_grad():
                    keys = F.normalize(pooled(self.keys.model, second.teacher), dim=-1)
                all_b = Candidates(ranks.gather(keys), numbers)
                sides = [(a, self.negatives.candidates(all_b, None))]
            scores = [self.scores(view, candidates, against, ranks) for view, candidates in sides]
            own = torch.arange(ranks.total, device=source.device)[ranks.own]
            loss = torch.stack([F.cross_entropy(one, own) for one in scores]).mean()
            terms = {
                self.name: loss.detach(),
                f"{self.name}.baseline": torch.stack([one.isfinite().sum(-1).log().mean() for one in scores]).mean(),
                f"{self.name}.accuracy": torch.stack([(one.argmax(-1) == own).float().mean() for one in scores]).mean(),
                f"{self.name}.shuffled": torch.stack([shuffled(one, own, numbers) for one in scores]).mean(),
                **spread_of(first.tokens, ranks, self.name),
                **spread_of(a, ranks, f"{self.name}.output"),
            }
            if self.training:
                self.negatives.remember(all_b)
        return Loss(loss, terms)

    def views(self, seen: Encoded) -> tuple[Float[Tensor, "b e"], Float[Tensor, "b e"]]:
        """Both views at length 1, as they are compared."""
        first, second = (seen.of(name) for name in self.config.of)
        if self.keys is None:
            other = pooled(self.project, second)
        else:
            assert second.teacher is not None
            other = pooled(self.keys.model, second.teacher)
        return F.normalize(pooled(self.project, first), dim=-1), F.normalize(other, dim=-1)

    def scores(
        self,
        view: Float[Tensor, "b e"],
        candidates: Candidates,
        against: Sequence[Float[Tensor, "b e"]],
        ranks: Ranks,
    ) -> Float[Tensor, "b c"]:
        """Of each query against all candidates, the partner's among them; -inf where one is no negative of it."""
        queries = F.normalize(self.predict(view), dim=-1)
        own = torch.arange(ranks.total, device=view.device)[ranks.own, None]
        ignored = candidates.numbers == candidates.numbers[own]
        scores = (queries @ candidates.rows.T).masked_fill(ignored.scatter(1, own, False), -math.inf)
        further = [(queries * other).sum(-1, keepdim=True) for other in against]
        return torch.cat((scores, *further), 1) / self.config.temperature

    def after_step(self) -> None:
        if self.keys is not None:
            self.keys.follow(self.project)


@torch.no_grad()
def shuffled(scores: Float[Tensor, "b c"], own: Int64[Tensor, "b"], numbers: Int64[Tensor, "all"]) -> Float[Tensor, ""]:
    """The mean cost where the partner is another clip of the step; of a clip alone, of its own."""
    others = scores[:, : len(numbers)]
    known = others.isfinite().scatter(1, own[:, None], False)
    known.scatter_(1, own[:, None], ~known.any(1, keepdim=True))
    mean = others.masked_fill(~known, 0).sum(1) / known.sum(1)
    return (scores.logsumexp(1) - mean).mean()


def pooled(head: nn.Module, seen: Encoded) -> Float[Tensor, "b e"]:
    """The mean of a view's tokens, those that no other stream has reached, in the space of the head."""
    return head(seen.alone.float().mean(1))
