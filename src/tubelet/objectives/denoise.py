"""Denoise: hidden tubelets are predicted from noised ones and the visible (DiffMAE, arXiv 2304.03283).

From the abstract: a diffusion model conditioned on what is visible, of which masked autoencoding is the case of noise
alone. Ours, as the body was not readable: the cosine schedule, one noise level a clip, and that the clean target is
predicted in one step and sampled by DDIM (arXiv 2010.02502).
"""

import math
from itertools import pairwise
from typing import ClassVar

import chz
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.models.blocks import initialise
from tubelet.models.patches import gather
from tubelet.objectives.base import Sizes
from tubelet.objectives.predict import Predict, PredictLoss
from tubelet.objectives.targets import PixelTarget
from tubelet.seeds import fold, normal, uniform
from tubelet.types import CLIP, Encoded


@chz.chz
class Denoise(Predict):
    steps: int = chz.field(default=1000, doc="noise levels while training")
    samples: int = chz.field(default=10, doc="steps of sampling, for pictures and reconstruction; 1: all at once")

    gives_per_token_loss: ClassVar[bool] = True

    @chz.validate
    def _sensible(self) -> None:
        if not 1 <= self.samples <= self.steps:
            raise RecipeError(f"samples={self.samples} must be from 1 to steps={self.steps}")
        if not isinstance(self.target, PixelTarget):
            raise RecipeError(f"Denoise adds noise to pixels: target={type(self.target).__name__} is made of no pixels")

    def build(self, sizes: Sizes) -> "DenoiseLoss":
        return DenoiseLoss(self, sizes)


class DenoiseLoss(PredictLoss):
    config: Denoise

    def __init__(self, config: Denoise, sizes: Sizes):
        super().__init__(config, sizes)
        width = config.decoder.width
        self.noised = nn.Linear(config.target.width(sizes.of(config.on[0])), width)
        self.level = nn.Embedding(config.steps + 1, width)
        initialise(self.noised)
        nn.init.normal_(self.level.weight, std=0.02)

    def predict(self, seen: Encoded, stream: str = CLIP) -> Float[Tensor, "b q v"]:
        """While training the clean target of one noise level a clip; else a sample, its noise drawn from the key."""
        if not self.training:
            return self.sample(seen, stream, self.config.samples)
        own = seen.of(stream)
        level = 1 + (uniform(fold(own.batch.key, f"level {self.name} {stream}"), 1)[:, 0] * self.config.steps).long()
        clean = self.clean(own)
        noisy = mixed(clean, self.noise(own, stream, clean), kept(level / self.config.steps)[:, None, None])
        return self.denoised(seen, stream, noisy, level)

    def sample(self, seen: Encoded, stream: str, samples: int) -> Float[Tensor, "b q v"]:
        """From noise alone to the clean target, in `samples` steps of DDIM without added noise."""
        own, steps = seen.of(stream), self.config.steps
        noisy = self.noise(own, stream, self.clean(own))
        levels = torch.linspace(steps, 0, samples + 1).round().long().tolist()
        clean = noisy
        for level, following in pairwise(levels):
            now, later = (kept(torch.tensor(one / steps)) for one in (level, following))
            clean = self.denoised(seen, stream, noisy, torch.full((len(noisy),), level, device=noisy.device)).float()
            noise = (noisy - now.sqrt() * clean) / (1 - now).sqrt()
            noisy = mixed(clean, noise, later)
        return clean

    def denoised(
        self, seen: Encoded, stream: str, noisy: Float[Tensor, "b q v"], level: Tensor
    ) -> Float[Tensor, "b q v"]:
        return self.decode(seen, stream, self.noised(noisy) + self.level(level)[:, None])

    def clean(self, own: Encoded) -> Float[Tensor, "b q v"]:
        target = self.config.target
        assert isinstance(target, PixelTarget)
        if own.clip.track:  # values as the encoder gets them
            return gather(own.tubelets, own.mask.decode).float()
        return target.standardise(gather(own.tubelets, own.mask.decode), own.mask.decode, own.clip).values

    def noise(self, own: Encoded, stream: str, like: Float[Tensor, "b q v"]) -> Float[Tensor, "b q v"]:
        keys = fold(own.batch.key, f"noise {self.name} {stream}")
        return normal(keys, like.shape[1:].numel()).view_as(like)


def kept(share: Tensor) -> Tensor:
    """How much of the variance is still the target's when this share of the noise levels is passed: exactly 1 at
    first and 0 at last, on a cosine (arXiv 2102.09672)."""
    return torch.sin((1 - share) * math.pi / 2).square()


def mixed(clean: Float[Tensor, "b q v"], noise: Float[Tensor, "b q v"], share: Tensor) -> Float[Tensor, "b q v"]:
    """What is left of the target when this share of its variance is kept, in noise of variance 1."""
    return share.sqrt() * clean + (1 - share).sqrt() * noise
