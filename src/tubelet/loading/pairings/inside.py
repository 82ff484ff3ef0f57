"""Inside: a crop of the clip's own crop (CropMAE, arXiv 2403.17823)."""

import chz
import numpy as np

from tubelet.errors import RecipeError
from tubelet.loading.augment import Augment
from tubelet.loading.pairings.base import Drawn, Pairing, Shot
from tubelet.loading.pairings.same import Same
from tubelet.types import Clip


@chz.chz
class Inside(Pairing):
    smallest: float = chz.field(default=0.3, doc="smallest share of the clip's crop")
    largest: float = chz.field(default=0.6, doc="largest share")
    aspect: float = chz.field(default=4 / 3, doc="largest ratio of a crop's sides")
    flip: bool = chz.field(default=False, doc="mirror every other one, whatever the clip does")

    @chz.validate
    def _shares(self) -> None:
        if not 0 < self.smallest <= self.largest <= 1:
            raise RecipeError(
                f"pairing.smallest={self.smallest:g} and pairing.largest={self.largest:g} must be shares of the crop, "
                "0 < smallest <= largest <= 1"
            )

    def shot(self, drawn: Drawn, clip: Clip, rng: np.random.Generator | None) -> Shot:
        _, _, rows, columns = drawn.crop.pixels(drawn.height, drawn.width)
        rng = np.random.Generator(np.random.Philox(key=0)) if rng is None else rng  # one and the same
        augment = Augment(smallest=self.smallest, largest=self.largest, aspect=self.aspect, flip=self.flip)
        return Shot(Same().shot(drawn, clip, None).times, augment.draw(rng, rows, columns).inside(drawn.crop))
