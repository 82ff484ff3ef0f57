"""Pixels: reconstruct the hidden tubelets, each normalised by its own mean and spread (VideoMAE, arXiv 2203.12602)."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import chz
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from tubelet.models.decoder import Decoder
from tubelet.models.patches import gather
from tubelet.objectives.base import Objective
from tubelet.types import Clip, Encoded, Loss

EPS = 1e-6  # added to the standard deviation of values in [0, 1]


@chz.chz
class Pixels(Objective):
    gives_per_token_loss: ClassVar[bool] = True

    decoder: Decoder = chz.field(default_factory=Decoder, doc="the size of the decoder")

    def build(self, width: int, clip: Clip, text_width: int | None) -> "PixelLoss":
        return PixelLoss(self, width, clip)


class PixelLoss(nn.Module):
    """Mean squared error over the decoded tubelets.

    What predicting the mean everywhere would cost is not a constant (512 values give 511/512, a flat tubelet 0), so
    `pixels.baseline` is that cost for exactly the tubelets scored, and `pixels.flat` the share without any contrast.
    """

    def __init__(self, config: Pixels, width: int, clip: Clip):
        super().__init__()
        self.config = config
        self.decoder = config.decoder.build(width, clip)

    def forward(self, seen: Encoded) -> Loss:
        tubelets = gather(seen.tubelets, seen.mask.decode)
        per_token, mean_prediction, flat = NormalisedError.apply(self.predict(seen), tubelets)
        loss = per_token.mean()
        terms = {"pixels": loss.detach(), "pixels.baseline": mean_prediction, "pixels.flat": flat.float().mean()}
        return Loss(loss, terms, per_token)

    def predict(self, seen: Encoded) -> Float[Tensor, "b q p"]:
        """The normalised values of the tubelets `mask.decode`."""
        return self.decoder(seen.tokens, seen.mask.visible, seen.mask.decode)


class NormalisedError(torch.autograd.Function):
    """Mean squared error of each tubelet against its normalised self, in fp32; then `Target.mean_prediction_loss` and
    `Target.flat`.

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


@dataclass(frozen=True)
class Target:
    """Tubelets less their mean, over their standard deviation, per colour; and what was divided away."""

    values: Float[Tensor, "b q p"]
    mean: Float[Tensor, "b q 3"]  # of pixel values 0-255
    std: Float[Tensor, "b q 3"]  # unbiased, of pixel values 0-255

    @property
    def mean_prediction_loss(self) -> Float[Tensor, ""]:
        """Mean of the squared target: the cost of predicting each tubelet's mean. Exact, from the statistics alone."""
        count = self.values.shape[-1] // 3
        return (self.std / (self.std + 255 * EPS)).square().mean() * ((count - 1) / count)

    @property
    def flat(self) -> Bool[Tensor, "b q"]:
        """Tubelets that vary in no colour; their target is 0."""
        return (self.std == 0).all(-1)

    def pixels(self, values: Float[Tensor, "b q p"]) -> Float[Tensor, "b q p"]:
        """Pixel values 0-255 of predicted `values`, given the true mean and spread: say so where it is shown."""
        return (values.unflatten(-1, (3, -1)) * (self.std + 255 * EPS)[..., None] + self.mean[..., None]).flatten(-2)


@torch.no_grad()
def normalise(tubelets: UInt8[Tensor, "b q p"]) -> Target:
    """The target of these tubelets, in fp32. Sums of whole numbers are exact, so a flat tubelet is exactly 0."""
    values = tubelets.float().unflatten(-1, (3, -1))
    mean = values.mean(-1)
    values -= mean[..., None]
    std = torch.linalg.vector_norm(values, dim=-1) / math.sqrt(values.shape[-1] - 1)
    values /= (std + 255 * EPS)[..., None]
    return Target(values.flatten(-2), mean, std)
