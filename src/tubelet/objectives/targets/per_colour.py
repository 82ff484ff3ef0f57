"""PerColour: pixels, each colour of a tubelet less its own mean, over its own spread (VideoMAE, arXiv 2203.12602)."""

import math
from typing import Any, ClassVar

import chz
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from tubelet.models.patches import gather
from tubelet.objectives.base import Sizes
from tubelet.objectives.targets.base import EPS, PixelTarget, Scores, Standardised
from tubelet.types import Clip, Encoded


@chz.chz
class PerColour(PixelTarget):
    """Predicting the mean everywhere costs no constant (512 values give 511/512, a flat tubelet 0), so the baseline is
    that cost for exactly the tubelets scored, and `flat` the share without any contrast."""

    needs_pixels: ClassVar[bool] = True

    def width(self, sizes: Sizes) -> int:
        return sizes.clip.tubelet_values

    def score(self, prediction: Float[Tensor, "b q v"], seen: Encoded) -> Scores:
        tubelets = gather(seen.tubelets, seen.mask.decode)
        per_token, mean_prediction, flat = NormalisedError.apply(prediction, tubelets)
        return Scores(per_token, mean_prediction, {"flat": flat.float().mean()})

    def standardise(self, tubelets: UInt8[Tensor, "b q p"], where: Int64[Tensor, "b q"], clip: Clip) -> Standardised:
        return normalise(tubelets)


class NormalisedError(torch.autograd.Function):
    """Mean squared error of each tubelet against its normalised self, in fp32; then what predicting its mean costs, and
    which tubelets are flat.

    By hand, because these are the largest tensors of a step: one buffer is target, difference and gradient in turn.
    (So a second backward pass over the same graph is refused by autograd.)
    """

    @staticmethod
    def forward(
        ctx: Any, prediction: Float[Tensor, "b q p"], tubelets: UInt8[Tensor, "b q p"]
    ) -> tuple[Float[Tensor, "b q"], Float[Tensor, ""], Bool[Tensor, "b q"]]:
        target = normalise(tubelets)
        difference = target.values.neg_().add_(prediction)
        ctx.save_for_backward(difference)
        mean_prediction, flat = target.mean_prediction_loss, target.flat
        ctx.mark_non_differentiable(mean_prediction, flat)
        return torch.linalg.vector_norm(difference, dim=-1).square() / difference.shape[-1], mean_prediction, flat

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference.mul_((gradients[0] * (2 / difference.shape[-1]))[..., None]), None


@torch.no_grad()
def normalise(tubelets: UInt8[Tensor, "b q p"]) -> Standardised:
    """The target of these tubelets, in fp32. Sums of whole numbers are exact, so a flat tubelet is exactly 0."""
    values = tubelets.float().unflatten(-1, (3, -1))
    mean = values.mean(-1)
    values -= mean[..., None]
    std = torch.linalg.vector_norm(values, dim=-1) / math.sqrt(values.shape[-1] - 1)
    values /= (std + 255 * EPS)[..., None]
    count = values.shape[-1]
    mean_prediction_loss = (std / (std + 255 * EPS)).square().mean() * (
        (count - 1) / count
    )  # from the statistics alone
    return Standardised(values.flatten(-2), mean, std, mean_prediction_loss, (std == 0).all(-1))
