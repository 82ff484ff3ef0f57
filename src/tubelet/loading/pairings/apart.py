"""Apart: the same video some seconds earlier or later (SiamMAE, arXiv 2305.14344; CVRL, arXiv 2008.03800)."""

from typing import Literal

import chz
import numpy as np

from tubelet.errors import RecipeError
from tubelet.loading.augment import Augment
from tubelet.loading.pairings.base import Drawn, Pairing, Shot, frames_about, step_of
from tubelet.types import Clip


@chz.chz
class Apart(Pairing):
    """Where the video does not reach so far, as far as it does. In the same crop, or in one of its own."""

    least: float = chz.field(default=0.0, doc="seconds at least between the middles of the clip and of the stream")
    most: float = chz.field(default=2.0, doc="seconds at most")
    order: Literal["any", "before", "after"] = chz.field(default="any", doc="where in time the stream lies")
    own_crop: bool = chz.field(default=False, doc="a crop of its own, by `augment`; else that of the clip")
    augment: Augment = chz.field(default_factory=Augment, doc="the crop, and what else changes the frames")

    @chz.validate
    def _sensible(self) -> None:
        if not 0 <= self.least <= self.most:
            raise RecipeError(
                f"pairing.least={self.least:g} and pairing.most={self.most:g} must be seconds, 0 <= least <= most"
            )

    def reach(self) -> float:
        return self.most

    def shot(self, drawn: Drawn, clip: Clip, rng: np.random.Generator | None) -> Shot:
        share, side = (0.5, 1.0) if rng is None else rng.random(2).tolist()
        gap = self.least + share * (self.most - self.least)
        later = self.order == "after" or (self.order == "any" and side >= 0.5)
        middle = float(drawn.times[0] + drawn.times[-1]) / 2
        times = frames_about(drawn, clip, middle + (gap if later else -gap), step_of(drawn, clip))
        return drawn.shot(times, self.augment if self.own_crop else None, rng)
