"""Regress: from one view of a clip, the embedding of another (BYOL, arXiv 2006.07733; BraVe, arXiv 2103.16559)."""

from typing import Literal

import chz
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import RecipeError
from tubelet.models.average import Average
from tubelet.objectives.base import Objective, Sizes
from tubelet.objectives.collapse import spread_of
from tubelet.objectives.gather import Ranks
from tubelet.objectives.heads import projector
from tubelet.objectives.instance import pooled
from tubelet.optim import Trainable
from tubelet.types import CLIP, Encoded, Loss


@chz.chz
class Regress(Objective):
    """2 - 2 cos of what an MLP predicts from the first view and the second's embedding, through which no gradient goes.
    No negatives: what keeps it from collapsing is that the two sides differ, and the log says whether it does.

    In the papers batch norm takes the mean of the batch from every embedding; a LayerNorm does not, and then all
    targets soon point one way, which is their mean's, and no prediction is better than that. `centre` takes the running
    mean of the targets from them (as DINO does, arXiv 2104.14294)."""

    of: tuple[str, str] = chz.field(default=(CLIP, "second"), doc="from which stream, and of which")
    by: Literal["student", "teacher"] = chz.field(default="teacher", doc="who makes the embedding that is predicted")
    own_heads: bool = chz.field(default=False, doc="MLPs of its own for each stream, as for encoders of their own")
    both: bool = chz.field(default=True, doc="also the first from the second")
    hidden: int = chz.field(default=512, doc="hidden width of the MLPs")
    width: int = chz.field(default=128, doc="width of the embeddings")
    layers: int = chz.field(default=2, doc="linear layers of the MLP of both sides")
    decay: float = chz.field(default=0.99, doc="with by=teacher: what of the MLP's running average stays at a step")
    centre: float | None = chz.field(
        default=None, doc="take their running mean from the targets: what of it stays at a step; None: take nothing"
    )

    @chz.validate
    def _sensible(self) -> None:
        if self.of[0] == self.of[1]:
            raise RecipeError(f"of={','.join(self.of)} must name two streams")
        if self.own_heads and not self.both:
            raise RecipeError("own_heads=True needs both=True: what is only predicted never trains an MLP of its own")
        if min(self.hidden, self.width, self.layers) < 1:
            raise RecipeError("hidden, width and layers of an MLP must be at least 1")
        if not 0 <= self.decay <= 1 or not 0 <= (self.centre or 0) <= 1:
            raise RecipeError(f"decay={self.decay:g} and centre={self.centre} must be from 0 to 1")

    @property
    def pools_clips(self) -> bool:
        return self.centre is not None

    @property
    def streams(self) -> tuple[str, ...]:
        return self.of if self.both or self.by == "student" else self.of[:1]

    @property
    def taught(self) -> tuple[str, ...]:
        return () if self.by == "student" else self.of if self.both else self.of[1:]

    @property
    def sides(self) -> tuple[tuple[str, str], ...]:
        """From which stream, and of which, is predicted."""
        return (self.of, self.of[::-1]) if self.both else (self.of,)

    def build(self, sizes: Sizes) -> "RegressLoss":
        return RegressLoss(self, sizes)


class RegressLoss(Trainable):
    """Logs NAME, NAME.baseline (what the mean embedding costs as a prediction of all), and of the first view NAME.rank
    and NAME.std; NAME.output and NAME.target are the same of what it predicts and of what is predicted
    (`objectives.collapse`)."""

    def __init__(self, config: Regress, sizes: Sizes):
        super().__init__()
        self.config = config
        self.name = sizes.name
        for stream in config.taught:
            size = sizes.of(stream)
            if size.teacher is not None and size.teacher.width != size.width:
                raise RecipeError(
                    f"objectives.{sizes.name}: the teacher's tokens of {stream} have width {size.teacher.width} and "
                    f"the student's {size.width}; they must be equal"
                )
        widths = [sizes.of(name).width for name in config.of]
        if not config.own_heads and widths[0] != widths[1]:
            raise RecipeError(
                f"objectives.{sizes.name}: one MLP reads {' and '.join(config.of)}, whose tokens have widths "
                f"{widths[0]} and {widths[1]}; give each its own with objectives.{sizes.name}.own_heads=True"
            )
        heads = dict(zip(config.of if config.own_heads else ("both",), widths, strict=False))
        self.projects = nn.ModuleDict(
            {name: projector(width, config.hidden, config.width, config.layers) for name, width in heads.items()}
        )
        self.predicts = nn.ModuleDict({name: projector(config.width, config.hidden, config.width, 2) for name in heads})
        self.keys = Average(self.projects, config.decay) if config.by == "teacher" else None
        for name in heads if config.centre is not None else ():
            self.register_buffer(f"mean_{name}", torch.zeros(config.width))

    def forward(self, seen: Encoded) -> Loss:
        tokens = seen.of(self.config.of[0]).tokens
        with torch.autocast(tokens.device.type, enabled=False):
            ranks = Ranks(len(tokens), tokens.device)
            costs, baselines = [], []
            spreads: dict[str, Float[Tensor, ""]] = {}
            for source, wanted in self.config.sides:
                head = self.head(source)
                predicted = self.predicts[head](pooled(self.projects[head], seen.of(source)))
                target = self.target(seen.of(wanted), wanted, ranks)
                spreads = spreads or {
                    **spread_of(predicted, ranks, f"{self.name}.output"),
                    **spread_of(target, ranks, f"{self.name}.target"),
                }
                mean = ranks.gather(target).mean(0, keepdim=True).expand_as(target)
                costs.append(distance(predicted, target))
                baselines.append(distance(mean, target))
            loss = torch.stack(costs).mean()
            terms = {
                self.name: loss.detach(),
                f"{self.name}.baseline": torch.stack(baselines).mean(),
                **spread_of(tokens, ranks, self.name),
                **spreads,
            }
        return Loss(loss, terms)

    def head(self, stream: str) -> str:
        return stream if self.config.own_heads else "both"

    @torch.no_grad()
    def target(self, seen: Encoded, stream: str, ranks: Ranks) -> Float[Tensor, "b e"]:
        if self.keys is None:
            made = pooled(self.projects[self.head(stream)], seen)
        else:
            assert seen.teacher is not None
            made = pooled(self.keys.model.get_submodule(self.head(stream)), seen.teacher)
        if self.config.centre is not None:
            mean = self.get_buffer(f"mean_{self.head(stream)}")
            every, made = ranks.gather(made), made - mean
            if self.training:
                mean.lerp_(every.mean(0), 1 - self.config.centre)
        return F.normalize(made, dim=-1)

    def after_step(self) -> None:
        if self.keys is not None:
            self.keys.follow(self.projects)


def distance(predicted: Float[Tensor, "b e"], target: Float[Tensor, "b e"]) -> Float[Tensor, ""]:
    """From 0 where all point the same way to 4 where they are opposite."""
    return (2 - 2 * F.cosine_similarity(predicted, target, dim=-1)).mean()
