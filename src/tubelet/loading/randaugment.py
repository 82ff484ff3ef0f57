"""RandAugment (Cubuk et al., 2020) on clips: every frame of a clip is changed in the same way, by Pillow.

The default is what VideoMAE fine-tunes with, `rand-m7-n4-mstd0.5-inc1` in timm's words: four times one of fifteen
operations, each time done with probability .5, at a magnitude drawn from a normal distribution around 7 of 10 with
deviation .5; "increasing" operations, which change more at a higher magnitude. Start reading at `RandAugment`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import chz
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageOps

from tubelet.errors import RecipeError

MOST = 10.0  # the largest magnitude
GREY = (128, 128, 128)  # what comes in from outside of the frame
Number = float | int
Frames = UInt8[np.ndarray, "t h w 3"]


@dataclass(frozen=True)
class Change:
    """One operation with its argument, the same for all frames."""

    name: str
    argument: Number  # 0 where there is none

    def __call__(self, frames: Frames) -> Frames:
        apply = OPERATIONS[self.name].apply
        return np.stack([np.asarray(apply(Image.fromarray(frame), self.argument)) for frame in frames])


@chz.chz
class RandAugment:
    """`layers` operations in a row, each with probability `probability`; 0 layers: none."""

    layers: int = chz.field(default=4, doc="operations in a row; 0: none")
    magnitude: float = chz.field(default=7.0, doc="how strong, 0 to 10")
    deviation: float = chz.field(default=0.5, doc="of the magnitude, drawn anew for each operation")
    probability: float = chz.field(default=0.5, doc="that an operation is done at all")

    @chz.validate
    def _sensible(self) -> None:
        if self.layers < 0 or self.deviation < 0 or not 0 <= self.magnitude <= MOST or not 0 <= self.probability <= 1:
            raise RecipeError(
                f"RandAugment takes layers >= 0, magnitude 0 to {MOST:g}, deviation >= 0 and probability 0 to 1, not "
                f"{self.layers}, {self.magnitude:g}, {self.deviation:g}, {self.probability:g}"
            )

    def draw(self, rng: np.random.Generator) -> list[Change]:
        """The changes of one clip. It always takes the same amount from the generator."""
        names = list(OPERATIONS)
        drawn = []
        for _ in range(self.layers):
            which, done, sign = rng.random(3).tolist()
            level = min(max(rng.normal(self.magnitude, self.deviation), 0.0), MOST) / MOST
            name = names[int(which * len(names))]
            if done < self.probability:
                drawn.append(Change(name, OPERATIONS[name].argument(level, -1 if sign < 0.5 else 1)))
        return drawn


@dataclass(frozen=True)
class Operation:
    """What an operation does with its argument, and how that follows from a level in [0, 1] and a sign."""

    apply: Callable[[Image.Image, Number], Image.Image]
    argument: Callable[[float, int], Number]


def nothing(level: float, sign: int) -> float:
    """The operation has no strength."""
    return 0.0


def enhancement(level: float, sign: int) -> float:
    return 1 + sign * 0.9 * level


def shear(level: float, sign: int) -> float:
    return sign * 0.3 * level


def translation(level: float, sign: int) -> float:
    """In shares of the frame."""
    return sign * 0.45 * level


def affine(image: Image.Image, matrix: Sequence[Number]) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=GREY
    )  # fmt: skip


def posterize(image: Image.Image, bits: Number) -> Image.Image:
    """Keeps the highest `bits` bits of every value; Pillow's own refuses 0."""
    mask = 256 - 2 ** (8 - int(bits))
    return image.point([value & mask for value in range(256)] * 3)


def solarize_add(image: Image.Image, amount: Number) -> Image.Image:
    """Adds to every value below 128."""
    table = [min(255, value + int(amount)) if value < 128 else value for value in range(256)]
    return image.point(table * 3)


OPERATIONS: Mapping[str, Operation] = {
    "AutoContrast": Operation(lambda image, _: ImageOps.autocontrast(image), nothing),
    "Equalize": Operation(lambda image, _: ImageOps.equalize(image), nothing),
    "Invert": Operation(lambda image, _: ImageOps.invert(image), nothing),
    "Rotate": Operation(
        lambda image, degrees: image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=GREY),
        lambda level, sign: sign * 30 * level,
    ),
    "Posterize": Operation(posterize, lambda level, sign: 4 - int(4 * level)),
    "Solarize": Operation(
        lambda image, threshold: ImageOps.solarize(image, int(threshold)),
        lambda level, sign: 256 - int(256 * level),
    ),
    "SolarizeAdd": Operation(solarize_add, lambda level, sign: int(110 * level)),
    "Color": Operation(lambda image, factor: ImageEnhance.Color(image).enhance(factor), enhancement),
    "Contrast": Operation(lambda image, factor: ImageEnhance.Contrast(image).enhance(factor), enhancement),
    "Brightness": Operation(lambda image, factor: ImageEnhance.Brightness(image).enhance(factor), enhancement),
    "Sharpness": Operation(lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor), enhancement),
    "ShearX": Operation(lambda image, factor: affine(image, (1, factor, 0, 0, 1, 0)), shear),
    "ShearY": Operation(lambda image, factor: affine(image, (1, 0, 0, factor, 1, 0)), shear),
    "TranslateX": Operation(lambda image, share: affine(image, (1, 0, share * image.width, 0, 1, 0)), translation),
    "TranslateY": Operation(lambda image, share: affine(image, (1, 0, 0, 0, 1, share * image.height)), translation),
}
