"""Scrambled: the clip's frames in another order, or one of them repeated (IIC, arXiv 2008.02531)."""

from typing import Literal

import chz
import numpy as np

from tubelet.loading.augment import Augment
from tubelet.loading.pairings.base import Drawn, Pairing, Shot
from tubelet.types import Clip


@chz.chz
class Scrambled(Pairing):
    """It looks like the clip and moves otherwise: a negative for an objective that is to tell motion."""

    how: Literal["shuffle", "repeat"] = chz.field(
        default="shuffle", doc="all frames in another order, or one of them in place of all"
    )
    augment: Augment | None = chz.field(
        default=None, doc="a crop of its own, and what else changes it; None: the clip's"
    )

    def shot(self, drawn: Drawn, clip: Clip, rng: np.random.Generator | None) -> Shot:
        draw = np.random.Generator(np.random.Philox(key=0)) if rng is None else rng  # one and the same
        count = len(drawn.times)
        if self.how == "shuffle":
            order = draw.permutation(count)
            if (order == np.arange(count)).all():
                order = np.roll(order, 1)  # in its own order it would be the clip itself
            times = drawn.times[order[np.arange(clip.frames) % count]]
        else:
            times = np.full(clip.frames, drawn.times[int(draw.integers(count))])
        return drawn.shot(times, self.augment, rng)
