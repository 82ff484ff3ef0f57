"""Again: the same frames in another crop, changed anew (SimCLR, arXiv 2002.05709; MoCo v2, arXiv 2003.04297)."""

import chz
import numpy as np

from tubelet.loading.augment import Augment
from tubelet.loading.pairings.base import Drawn, Pairing, Shot
from tubelet.loading.pairings.same import Same
from tubelet.types import Clip
from tubelet.video.crop import Crop


@chz.chz
class Again(Pairing):
    augment: Augment = chz.field(default_factory=Augment, doc="the crop, and what else changes the frames")

    def shot(self, drawn: Drawn, clip: Clip, rng: np.random.Generator | None) -> Shot:
        times = Same().shot(drawn, clip, None).times
        if rng is None:
            return Shot(times, Crop.centre(drawn.height, drawn.width))
        return Shot(times, self.augment.draw(rng, drawn.height, drawn.width), self.augment)
