"""Blend: a weighted sum of maps, each brought to one scale within its clip: hide what is named *and* moves.

Text guidance (TGM, arXiv 2408.00759) and motion guidance (MGM, arXiv 2308.12962) in one mask, or any other maps; a map
of vectors counts by its speed. Invariant: every time step hides exactly as many; a map may be shifted and scaled, clip
by clip, without any effect; with one weight above 0 and no temperature it hides the top of that map.
"""

import math
from collections.abc import Mapping

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.maskers.base import Share
from tubelet.maskers.soft import check_temperature, soften, standardise
from tubelet.maskers.vectors import per_time_step, speed
from tubelet.types import Batch, Clip


@chz.chz
class Blend(Share):
    ratio: float = chz.field(default=0.6, doc="share of every time step's tubelets that is hidden")
    weights: Mapping[str, float] = chz.field(
        default_factory=lambda: {"text": 1.0, "motion": 1.0},
        doc="factor of each map; below 0 it is shown, 0 leaves it out",
    )
    temperature: float = chz.field(
        default=0.0, doc="0: hide the top of the sum; more: drawn, in standard deviations of the clip's sums"
    )

    @chz.validate
    def _sensible(self) -> None:
        check_temperature(self.temperature)
        if not any(self.weights.values()) or not all(map(math.isfinite, self.weights.values())):
            raise RecipeError(f"masker.weights={dict(self.weights)} must name a map with a weight that is not 0")

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(sorted(name for name, weight in self.weights.items() if weight))

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        parts = [self.weights[name] * standardise(strength(batch.maps[name], clip)) for name in self.needs]
        return soften(torch.stack(parts).sum(0), self.temperature, key)


def strength(values: Float[Tensor, "b ..."], clip: Clip) -> Float[Tensor, "b n"]:
    """A map as one number a tubelet: of vectors how fast the tubelet moves."""
    return values if values.ndim == 2 else speed(per_time_step(values, clip)).flatten(1)
