"""Cpc: what is seen so far tells the time steps that follow from those of other clips (CPC, arXiv 1807.03748).

The clip hides its future (`masker=Future`), the stream `future` its past (`masker=Past`), and each is encoded alone, so
nothing of what is predicted enters the context.
"""

from typing import ClassVar

import chz
import torch
from einops import rearrange
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import RecipeError
from tubelet.models.blocks import initialise
from tubelet.models.patches import gather
from tubelet.objectives.base import Objective, Sizes
from tubelet.objectives.collapse import spread_of
from tubelet.objectives.gather import Ranks
from tubelet.types import CLIP, Encoded, Loss


@chz.chz
class Cpc(Objective):
    """From the mean of the context's tokens a linear map for every step ahead; the candidates are the means of all
    visible time steps of all clips and ranks."""

    compares_clips: ClassVar[bool] = True

    future: str = chz.field(default="future", doc="the stream whose time steps are to be found")
    width: int = chz.field(default=128, doc="width of the space in which they are compared")
    temperature: float = chz.field(default=0.1, doc="temperature of the softmax")

    @chz.validate
    def _positive(self) -> None:
        if not (self.width > 0 and self.temperature > 0):
            raise RecipeError(f"width={self.width} and temperature={self.temperature:g} must be positive")

    @property
    def streams(self) -> tuple[str, ...]:
        return (CLIP, self.future)

    def build(self, sizes: Sizes) -> "CpcLoss":
        return CpcLoss(self, sizes)


class CpcLoss(nn.Module):
    def __init__(self, config: Cpc, sizes: Sizes):
        super().__init__()
        self.config, self.name = config, sizes.name
        later = sizes.of(config.future)
        self.ahead = nn.Linear(sizes.width, later.clip.grid[0] * config.width, bias=False)
        self.found = nn.Linear(later.width, config.width, bias=False)
        self.apply(initialise)

    def forward(self, seen: Encoded) -> Loss:
        later = seen.of(self.config.future)
        with torch.autocast(seen.tokens.device.type, enabled=False):
            steps = time_steps_seen(later)  # b s
            asked = rearrange(self.ahead(seen.alone.float().mean(1)), "b (t w) -> b t w", w=self.config.width)
            asked = F.normalize(gather(asked, steps), dim=-1)  # b s w
            means = rearrange(later.alone.float(), "b (s p) d -> b s p d", s=steps.shape[1]).mean(2)
            found = F.normalize(self.found(means), dim=-1)
            ranks = Ranks(len(found), found.device)
            known = ranks.gather(found).flatten(0, 1)
            own = torch.arange(len(known), device=found.device).view(-1, steps.shape[1])[ranks.own]
            logits = asked.flatten(0, 1) @ known.T / self.config.temperature
            loss = F.cross_entropy(logits, own.flatten())
        terms = {
            self.name: loss.detach(),
            f"{self.name}.baseline": loss.new_tensor(len(known)).log(),
            **spread_of(asked, ranks, f"{self.name}.output"),
            f"{self.name}.accuracy": (logits.argmax(-1) == own.flatten()).float().mean(),
        }
        return Loss(loss, terms)


def time_steps_seen(seen: Encoded) -> Int64[Tensor, "b s"]:
    """The time steps that are visible whole. `ValueError` where a mask leaves a part of one (the values are checked
    where that costs no device synchronisation, on the CPU)."""
    positions = seen.clip.num_positions
    visible = seen.mask.visible // positions
    whole = visible.shape[1] % positions == 0
    steps = visible[:, ::positions]
    if whole and visible.device.type == "cpu":
        whole = torch.equal(visible, steps.repeat_interleave(positions, dim=1))
    if not whole:
        raise ValueError("the objective Cpc reads whole time steps; take masker=Past, Future, Frame or Nothing")
    return steps
