"""The augmentation of MoCo v2 (arXiv 2003.04297) on clips: crop, colour jitter, grey, blur.

One draw a clip, so that every frame is changed alike and motion stays what it was. As in SimCLR (arXiv 2002.05709) the
four changes of colour come in a random order. Ours: a contrast is about the mean grey of the whole clip, not of each
frame; the blur is given for frames of 224 pixels and shrinks with the frame; rounding comes once, at the end.
"""

import math
from collections.abc import Callable, Mapping

import chz
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from tubelet.errors import RecipeError
from tubelet.loading.augment import Augment

GREY = (0.299, 0.587, 0.114)  # of red, green and blue
BLUR_SIZE = 224  # pixels of the frames that `blur_most` speaks of
Frames = Float[Tensor, "3 t h w"]  # values in [0, 1]


@chz.chz
class ColourAugment(Augment):
    smallest: float = chz.field(default=0.2, doc="smallest share of the frame's area that a crop covers")
    jitter: float = chz.field(default=0.8, doc="probability that brightness, contrast, saturation and hue change")
    brightness: float = chz.field(default=0.4, doc="factor from 1 - this to 1 + this")
    contrast: float = chz.field(default=0.4, doc="factor from 1 - this to 1 + this, about the clip's mean grey")
    saturation: float = chz.field(default=0.4, doc="factor from 1 - this to 1 + this")
    hue: float = chz.field(default=0.1, doc="turn by at most this share of the circle of hues")
    grey: float = chz.field(default=0.2, doc="probability that a clip loses its colours")
    blur: float = chz.field(default=0.5, doc="probability that a clip is blurred")
    blur_least: float = chz.field(default=0.1, doc="smallest deviation of the Gaussian, pixels of a frame of 224")
    blur_most: float = chz.field(default=2.0, doc="largest deviation")

    @chz.validate
    def _sensible(self) -> None:
        for name in ("jitter", "grey", "blur", "brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"augment.{name}={getattr(self, name):g} must be from 0 to 1")
        if not 0 <= self.hue <= 0.5:
            raise RecipeError(f"augment.hue={self.hue:g} must be from 0 to 0.5, half of the circle")
        if not 0 < self.blur_least <= self.blur_most:
            raise RecipeError(
                f"augment.blur_least={self.blur_least:g} and augment.blur_most={self.blur_most:g} must be positive, "
                "the least no more than the most"
            )

    def apply(self, frames: UInt8[Tensor, "3 t h w"], rng: np.random.Generator) -> UInt8[Tensor, "3 t h w"]:
        """It always takes twelve numbers from the generator."""
        jittered, greyed, blurred, width = rng.random(4).tolist()
        amounts = dict(zip(CHANGES, (2 * rng.random(4) - 1).tolist(), strict=True))
        order = rng.random(4).argsort()
        values = frames.float() / 255
        if jittered < self.jitter:
            for name in np.array([*CHANGES])[order].tolist():
                values = CHANGES[name](values, amounts[name] * getattr(self, name)).clamp(0, 1)
        if greyed < self.grey:
            values = grey(values).expand_as(values)
        if blurred < self.blur:
            deviation = self.blur_least + width * (self.blur_most - self.blur_least)
            values = gaussian_blur(values, deviation * frames.shape[-1] / BLUR_SIZE)
        return (255 * values).round().clamp(0, 255).to(torch.uint8)


def brighten(values: Frames, amount: float) -> Frames:
    return values * (1 + amount)


def change_contrast(values: Frames, amount: float) -> Frames:
    return torch.lerp(grey(values).mean().expand_as(values), values, 1 + amount)


def saturate(values: Frames, amount: float) -> Frames:
    return torch.lerp(grey(values).expand_as(values), values, 1 + amount)


def turn_hue(values: Frames, amount: float) -> Frames:
    """Hue, saturation and value, the hue turned by this share of its circle, and back."""
    most, least = values.amax(0), values.amin(0)
    spread = most - least
    red, green, blue = (most - values) / spread.clamp_min(1e-12)
    hue = torch.where(values[0] == most, blue - green, torch.where(values[1] == most, 2 + red - blue, 4 + green - red))
    sector = (hue + 6 * amount) % 6  # of six: from red over yellow, green, cyan, blue and magenta
    distance = torch.stack([(sector - 3).abs() - 1, 2 - (sector - 2).abs(), 2 - (sector - 4).abs()])
    return most - spread * (1 - distance.clamp(0, 1))


CHANGES: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "brightness": brighten,
    "contrast": change_contrast,
    "saturation": saturate,
    "hue": turn_hue,
}


def grey(values: Frames) -> Float[Tensor, "1 t h w"]:
    return torch.einsum("c t h w, c -> t h w", values, values.new_tensor(GREY))[None]


def gaussian_blur(values: Frames, deviation: float) -> Frames:
    """Rows, then columns, up to three deviations; frames are mirrored at their borders."""
    radius = min(max(math.ceil(3 * deviation), 1), min(values.shape[-2:]) - 1)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / deviation) ** 2)
    weights = weights / weights.sum()
    padded = F.pad(values.transpose(0, 1), (radius,) * 4, mode="reflect").flatten(0, 1)[:, None]
    blurred = F.conv2d(F.conv2d(padded, weights[None, None, None]), weights[None, None, :, None])
    return blurred.squeeze(1).unflatten(0, (-1, 3)).transpose(0, 1)
