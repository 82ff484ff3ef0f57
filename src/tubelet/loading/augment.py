"""One crop (and flip) for all frames of a clip, drawn from a key."""

import math
from collections.abc import Iterable

import chz
import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.video.crop import Crop


@chz.chz
class Augment:
    """A random resized crop, the same for all frames; no change of colour; no flip unless asked for."""

    smallest: float = chz.field(default=0.5, doc="smallest share of the frame's area that a crop covers")
    largest: float = chz.field(default=1.0, doc="largest share")
    aspect: float = chz.field(default=4 / 3, doc="largest ratio of a crop's sides")
    flip: bool = chz.field(default=False, doc="mirror every other clip; refused where captions or classes name a side")
    words: tuple[str, ...] = chz.field(
        default=("left", "right", "clockwise"),
        doc="flip=True is refused where a caption or label contains one of these words",
    )
    repeats: int = chz.field(default=1, doc="clips made of one decoded piece of a video, each augmented in its own way")

    def apply(self, frames: UInt8[Tensor, "3 t h w"], rng: np.random.Generator) -> UInt8[Tensor, "3 t h w"]:
        """What happens to a clip after it was cropped: nothing here."""
        return frames

    @chz.validate
    def _shares(self) -> None:
        if not 0 < self.smallest <= self.largest <= 1:
            raise RecipeError(
                f"augment.smallest={self.smallest:g} and augment.largest={self.largest:g} must be shares of the frame, "
                "0 < smallest <= largest <= 1"
            )
        if not self.aspect >= 1:
            raise RecipeError(f"augment.aspect={self.aspect:g} must be at least 1")
        if self.repeats < 1:
            raise RecipeError(f"augment.repeats={self.repeats} must be 1 or more")

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Crop:
        """A crop for frames of (rows, columns) pixels. It always takes five numbers from the generator."""
        area, shape, down, along, mirror = rng.random(5).tolist()
        pixels = (self.smallest + area * (self.largest - self.smallest)) * height * width
        aspect = math.exp((2 * shape - 1) * math.log(self.aspect))
        rows = min(max(round(math.sqrt(pixels / aspect)), 1), height)
        columns = min(max(round(math.sqrt(pixels * aspect)), 1), width)
        top = int(down * (height - rows + 1))
        left = int(along * (width - columns + 1))
        return Crop.of_pixels(top, left, rows, columns, height, width, self.flip and mirror < 0.5)


def names_a_side(texts: Iterable[str], words: Iterable[str]) -> str | None:
    """The first of these words (or a form of it: leftward, counterclockwise) in any of the texts."""
    import re

    forms = {word.casefold(): word for word in words}
    if not forms:
        return None
    stems = "|".join(map(re.escape, forms))
    pattern = re.compile(rf"(?<![a-z])(?:counter|anti)?-?({stems})(?:s|wards?|most|hand(?:ed)?|side)?(?![a-z])")
    for text in texts:
        # CamelCase class names are words too
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).casefold()
        if found := pattern.search(spaced):
            return forms[found[1]]
    return None
