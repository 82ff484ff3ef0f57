"""Same: these very frames in the same crop; or as many as the stream's clip wants, about the same middle."""

import chz
import numpy as np

from tubelet.errors import RecipeError
from tubelet.loading.pairings.base import Drawn, Pairing, Shot, frames_about, step_of
from tubelet.types import Clip


@chz.chz
class Same(Pairing):
    pace: float = chz.field(default=1.0, doc="steps between the stream's frames, in steps of the clip's")

    @chz.validate
    def _positive(self) -> None:
        if not self.pace > 0:
            raise RecipeError(f"pairing.pace={self.pace:g} must be positive")

    def shot(self, drawn: Drawn, clip: Clip, rng: np.random.Generator | None) -> Shot:
        if clip.frames == len(drawn.times) and self.pace == 1:
            return Shot(drawn.times, drawn.crop)
        middle = float(drawn.times[0] + drawn.times[-1]) / 2
        return Shot(frames_about(drawn, clip, middle, self.pace * step_of(drawn)), drawn.crop)
