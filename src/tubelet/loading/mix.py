"""Mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019) of a batch, with soft targets that sum to one.

As VideoMAE does: one of the two, drawn with probability `switch`, one share for the whole batch, each clip mixed with
its counterpart from the other end of the batch. What is drawn comes from torch's generator, which the loop seeds anew
for every step.
"""

from dataclasses import dataclass

import chz
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import one_hot

from tubelet.errors import RecipeError


@dataclass(frozen=True)
class Mixed:
    video: UInt8[Tensor, "b 3 t h w"] | Float[Tensor, "b c t h w"]
    target: Float[Tensor, "b classes"]  # each row sums to one


@chz.chz
class Mix:
    """Mixup or CutMix, then label smoothing; 0 turns each off."""

    mixup: float = chz.field(default=0.8, doc="mixup's alpha: the share is drawn from Beta(alpha, alpha)")
    cutmix: float = chz.field(default=1.0, doc="CutMix's alpha")
    switch: float = chz.field(default=0.5, doc="probability of CutMix where both are on")
    smoothing: float = chz.field(default=0.1, doc="share of the target that is spread over all classes")

    @chz.validate
    def _sensible(self) -> None:
        if min(self.mixup, self.cutmix) < 0 or not 0 <= self.switch <= 1 or not 0 <= self.smoothing < 1:
            raise RecipeError("mix.mixup and mix.cutmix must be 0 or more, mix.switch and mix.smoothing shares")

    def __call__(
        self, video: UInt8[Tensor, "b 3 t h w"] | Float[Tensor, "b c t h w"], label: Int64[Tensor, "b"], classes: int
    ) -> Mixed:
        target = smooth(label, classes, self.smoothing)
        if not (self.mixup or self.cutmix) or len(label) < 2:
            return Mixed(video, target)
        cut = not self.mixup or (bool(self.cutmix) and float(torch.rand(())) < self.switch)
        alpha = self.cutmix if cut else self.mixup
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        other = video.flip(0)
        if cut:
            inside = box(share, *video.shape[-2:]).to(video.device)
            mixed, share = torch.where(inside, other, video), 1 - float(inside.float().mean())
        else:
            mixed = torch.lerp(other.float(), video.float(), share)
        return Mixed(mixed, share * target + (1 - share) * target.flip(0))


def smooth(label: Int64[Tensor, "b"], classes: int, smoothing: float) -> Float[Tensor, "b {classes}"]:
    """One-hot targets of which `smoothing` is spread evenly over all classes."""
    return one_hot(label, classes).float() * (1 - smoothing) + smoothing / classes


def box(share: float, height: int, width: int) -> Bool[Tensor, "{height} {width}"]:
    """A rectangle of the frame's shape that covers 1 - share of it, centred anywhere; cut off at the frame's edge."""
    side = (1 - share) ** 0.5
    rows, columns = int(height * side), int(width * side)
    down, along = (int(torch.randint(size, ())) for size in (height, width))
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[max(down - rows // 2, 0) : down + rows // 2, max(along - columns // 2, 0) : along + columns // 2] = True
    return inside
