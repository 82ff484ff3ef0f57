"""Same: these very frames in the same crop; or as many as the stream's clip wants, about the same middle.

Of a track, at its own rate.
"""

import chz
import numpy as np

from tubelet.errors import RecipeError
from tubelet.loading.augment import Augment
from tubelet.loading.pairings.base import Drawn, Pairing, Shot, frames_about, step_of
from tubelet.types import Clip


@chz.chz
class Same(Pairing):
    pace: float = chz.field(default=1.0, doc="steps between the stream's frames, in steps of the clip's")

    augment: Augment | None = chz.field(
        default=None, doc="a crop of its own, and what else changes it; None: the clip's"
    )

    @chz.validate
    def _positive(self) -> None:
        if not self.pace > 0:
            raise RecipeError(f"pairing.pace={self.pace:g} must be positive")

    def shot(self, drawn: Drawn, clip: Clip, rng: np.random.Generator | None) -> Shot:
        times = drawn.times
        if clip.frames != len(times) or self.pace != 1 or clip.track != drawn.clip.track:
            middle = float(times[0] + times[-1]) / 2
            times = frames_about(drawn, clip, middle, self.pace * step_of(drawn, clip))
        return drawn.shot(times, self.augment, rng)
