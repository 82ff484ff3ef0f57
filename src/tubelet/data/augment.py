"""One crop (and flip) for all frames of a clip, drawn from a key and carried in shares of the full frame.

The same `Crop` moves the frames and the saliency maps, so they cannot drift apart.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import chz
import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional

from tubelet.errors import RecipeError


@dataclass(frozen=True)
class Crop:
    """A rectangle in shares of the full frame, upright; `flip` mirrors what it shows, left to right."""

    top: float
    left: float
    height: float
    width: float
    flip: bool = False

    @classmethod
    def centre(cls, height: int, width: int) -> "Crop":
        """The largest square in the middle of a frame of so many pixels."""
        return cls.along(height, width, 0.5)

    @classmethod
    def along(cls, height: int, width: int, place: float) -> "Crop":
        """The largest square, at this share of the way along the longer side: 0 is top or left, .5 the middle."""
        side = min(height, width)
        return cls.of_pixels(int(place * (height - side)), int(place * (width - side)), side, side, height, width)

    @classmethod
    def of_pixels(
        cls, top: int, left: int, rows: int, columns: int, height: int, width: int, flip: bool = False
    ) -> "Crop":
        return cls(top / height, left / width, rows / height, columns / width, flip)

    def cut(self, frames: UInt8[np.ndarray, "*t h w c"]) -> UInt8[np.ndarray, "*t rows columns c"]:
        """What the crop shows of a frame or of several, mirrored where it flips; a view."""
        top, left, rows, columns = self.pixels(frames.shape[-3], frames.shape[-2])
        inside = frames[..., top : top + rows, left : left + columns, :]
        return inside[..., ::-1, :] if self.flip else inside

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, rows, columns) in a frame of so many pixels; at least one pixel, inside the frame."""
        rows = min(max(round(self.height * height), 1), height)
        columns = min(max(round(self.width * width), 1), width)
        top = min(round(self.top * height), height - rows)
        left = min(round(self.left * width), width - columns)
        return top, left, rows, columns


@chz.chz
class Augment:
    """A random resized crop, the same for all frames; no change of colour; no flip unless asked for."""

    smallest: float = chz.field(default=0.5, doc="smallest share of the frame's area that a crop covers")
    largest: float = chz.field(default=1.0, doc="largest share")
    aspect: float = chz.field(default=4 / 3, doc="a crop is at most so many times wider than high, or higher than wide")
    flip: bool = chz.field(default=False, doc="mirror every other clip; refused where captions or classes name a side")
    words: tuple[str, ...] = chz.field(
        default=("left", "right", "clockwise"), doc="words that a mirror would make a lie of"
    )

    @property
    def copies(self) -> int:
        """Clips that are made of one drawn piece of a video, each with a crop of its own."""
        return 1

    def change(self, frames: UInt8[Tensor, "3 t h w"], rng: np.random.Generator) -> UInt8[Tensor, "3 t h w"]:
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

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Crop:
        """A crop for frames of so many pixels. It always takes five numbers from the generator."""
        area, shape, down, along, mirror = rng.random(5).tolist()
        pixels = (self.smallest + area * (self.largest - self.smallest)) * height * width
        aspect = math.exp((2 * shape - 1) * math.log(self.aspect))
        rows = min(max(round(math.sqrt(pixels / aspect)), 1), height)
        columns = min(max(round(math.sqrt(pixels * aspect)), 1), width)
        top = int(down * (height - rows + 1))
        left = int(along * (width - columns + 1))
        return Crop.of_pixels(top, left, rows, columns, height, width, self.flip and mirror < 0.5)


def crop_frames(frames: UInt8[np.ndarray, "t h w 3"], crop: Crop, size: int) -> UInt8[Tensor, "3 t {size} {size}"]:
    """What the crop shows, resized with antialiasing. uint8 in, uint8 out; the frames stay as the decoder lays them."""
    return resize(crop.cut(frames), size, size)


def resize(frames: UInt8[np.ndarray, "t h w 3"], rows: int, columns: int) -> UInt8[Tensor, "3 t {rows} {columns}"]:
    """Bilinear with antialiasing, on bytes."""
    inside = torch.from_numpy(np.ascontiguousarray(frames))
    if frames.shape[1:3] != (rows, columns):
        planes = inside.permute(0, 3, 1, 2)  # a view: channels last, as the uint8 kernel wants them
        planes = functional.interpolate(planes, size=(rows, columns), mode="bilinear", antialias=True)
        return planes.transpose(0, 1).contiguous()
    return rearrange(inside, "t h w c -> c t h w").contiguous()


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
