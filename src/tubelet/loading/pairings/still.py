"""Still: one frame of the clip (CrossVideoMAE, arXiv 2502.07811)."""

import chz
import numpy as np

from tubelet.errors import RecipeError
from tubelet.loading.pairings.base import Drawn, Pairing, Shot
from tubelet.types import Clip


@chz.chz
class Still(Pairing):
    """In a stream of several frames it is repeated."""

    at: float | None = chz.field(default=None, doc="share of the clip's time; None: drawn anew for every clip")

    @chz.validate
    def _share(self) -> None:
        if self.at is not None and not 0 <= self.at <= 1:
            raise RecipeError(f"pairing.at={self.at:g} must be a share of the clip's time, from 0 to 1")

    def shot(self, drawn: Drawn, clip: Clip, rng: np.random.Generator | None) -> Shot:
        at = self.at if self.at is not None else 0.5 if rng is None else rng.random()
        index = min(int(at * len(drawn.times)), len(drawn.times) - 1)
        return Shot(np.repeat(drawn.times[index : index + 1], clip.frames), drawn.crop)
