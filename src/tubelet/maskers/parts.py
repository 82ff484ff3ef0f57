"""Parts: some of every part is hidden at first, whole parts at the end (SemMAE, arXiv 2206.10207).

Each tubelet belongs to the part that has most of it in the map `parts`. Of a part with n tubelets are hidden
round(easy * ratio * n + (1 - easy) * whole), where `whole` counts those that hiding whole parts, in an order drawn from
the key, takes from it, and `easy` falls from 1 to 0 as 1 - progress^2. Invariant: the visible count is floored; at the
start every part hides the ratio of its tubelets, to rounding; at the end parts are hidden whole, all but at most one.
"""

from typing import ClassVar

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from tubelet.maskers.base import Per, Share
from tubelet.seeds import fold, uniform
from tubelet.types import Batch, Clip


@chz.chz
class Parts(Share):
    needs: ClassVar[tuple[str, ...]] = ("parts",)
    per: ClassVar[Per] = "clip"

    ratio: float = chz.field(default=0.75, doc="share of the clip's tubelets that is hidden")
    hard: bool = chz.field(default=False, doc="hide whole parts from the first step on")

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        """Above 0 for as many of each part as are to be hidden, in a random order; in shares of the part, so that what
        rounding leaves over is settled within the largest parts."""
        shares = batch.maps["parts"]
        part = shares.argmax(-1)  # b n
        counts = functional.one_hot(part, shares.shape[-1]).sum(1)  # b parts
        whole = hidden_whole(counts, self.budget(clip).hidden, uniform(fold(key, "parts"), shares.shape[-1]))
        easy = 0.0 if self.hard else 1 - batch.progress**2
        wanted = torch.round(easy * self.ratio * counts + (1 - easy) * whole)
        rank = rank_within(part, counts, uniform(key, clip.num_tubelets))
        return (wanted.gather(1, part) - rank - 0.5) / counts.gather(1, part)


def hidden_whole(
    counts: Int64[Tensor, "b parts"], hidden: int, noise: Float[Tensor, "b parts"]
) -> Int64[Tensor, "b parts"]:
    """How many of each part are hidden where parts are hidden whole, in the order of the noise, until there are enough;
    of the last one as many as are still missing."""
    order = noise.argsort(dim=1)
    ordered = counts.gather(1, order)
    before = ordered.cumsum(1) - ordered
    return torch.zeros_like(counts).scatter(1, order, torch.minimum((hidden - before).clamp(min=0), ordered))


def rank_within(
    part: Int64[Tensor, "b n"], counts: Int64[Tensor, "b parts"], noise: Float[Tensor, "b n"]
) -> Int64[Tensor, "b n"]:
    """From 0, the place of each tubelet among those of its part in the order of the noise."""
    place = (part.double() + noise.double()).argsort(dim=1).argsort(dim=1)
    first = counts.cumsum(1) - counts
    return place - first.gather(1, part)
