"""What is predicted of a hidden tubelet, and how a prediction is scored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import chz
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.objectives.base import Sizes
from tubelet.types import Clip, Encoded

EPS = 1e-6  # added to the standard deviation of values in [0, 1]


@dataclass(frozen=True)
class Scores:
    """The loss of each decoded tubelet; what knowing nothing costs on exactly these; further numbers for the log."""

    per_token: Float[Tensor, "b q"]
    baseline: Float[Tensor, ""]
    terms: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)


@chz.chz
class Target:
    """A frozen config that does the work itself."""

    needs_teacher: ClassVar[bool] = False
    needs_pixels: ClassVar[bool] = False  # other signals will not do

    def check(self, clip: Clip, stream: str) -> None:
        """`RecipeError` where it cannot be made of this stream."""
        if self.needs_pixels and clip.track:
            raise RecipeError(
                f"target={type(self).__name__} is made of pixels, and the stream {stream} holds none; take target=Raw"
            )

    def width(self, sizes: Sizes) -> int:
        """How many numbers are predicted of a tubelet of this stream."""
        raise NotImplementedError

    def score(self, prediction: Float[Tensor, "b q v"], seen: Encoded) -> Scores:
        """Of the tubelets `seen.mask.decode`."""
        raise NotImplementedError


@chz.chz
class PixelTarget(Target):
    """A target that is made of pixels alone, so that a prediction can be shown as a picture."""

    def standardise(self, tubelets: UInt8[Tensor, "b q p"], where: Int64[Tensor, "b q"], clip: Clip) -> "Standardised":
        """The target of these tubelets, which stand at `where`, in fp32."""
        raise NotImplementedError

    def fill(self, values: Float[Tensor, "*batch v"], clip: Clip) -> Float[Tensor, "*batch p"]:
        """Predicted values of whole tubelets, for pictures; what is not predicted shows what is."""
        return values


@dataclass(frozen=True)
class Standardised:
    """Tubelets less a mean, over a standard deviation; what was taken away; and what predicting 0 costs."""

    values: Float[Tensor, "b q v"]
    mean: Float[Tensor, "b q 3"]  # of pixel values 0-255
    std: Float[Tensor, "b q 3"]  # of pixel values 0-255: values were divided by this plus 255 * EPS
    mean_prediction_loss: Float[Tensor, ""]  # mean of the squared target
    flat: Bool[Tensor, "b q"]  # tubelets that vary in no colour

    def pixels(self, values: Float[Tensor, "b q v"]) -> Float[Tensor, "b q v"]:
        """Pixel values 0-255 of predicted `values`, given the true mean and spread: say so where it is shown."""
        return (values.unflatten(-1, (3, -1)) * (self.std + 255 * EPS)[..., None] + self.mean[..., None]).flatten(-2)
