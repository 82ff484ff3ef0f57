"""Pseudo-motion: a single frame is set in motion, so that masks hide a motion that is known to be there (the generator
of Data Collection-free Masked Video Modeling, ECCV 2024, arXiv 2409.06665).

From the abstract and summaries of the paper, no code: one transformation is drawn and applied again and again, zoom and
affine ones are best, and mixing two such clips helps. Ours: the strengths; the drawn frame stands in the middle of the
clip, and each frame is made of it at once, by a power of the transformation, so that nothing blurs; what lies beyond
its border is mirrored; the two clips that are mixed are two motions of one frame.
"""

import math

import chz
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from tubelet.errors import RecipeError
from tubelet.loading.augment import Augment


@chz.chz
class PseudoMotion(Augment):
    """Some clips become one of their own frames in pseudo-motion; the others stay as they are. It is drawn anew every
    epoch. Strengths are per frame."""

    share: float = chz.field(default=0.5, doc="probability that a clip is a single frame in pseudo-motion")
    zoom: float = chz.field(default=0.06, doc="largest change of size: a factor of 1 + this, or its inverse")
    shift: float = chz.field(default=0.04, doc="largest shift along each side, as a share of it")
    turn: float = chz.field(default=4.0, doc="largest rotation, degrees")
    shear: float = chz.field(default=0.04, doc="largest shear")
    mix: float = chz.field(default=0.5, doc="largest share of a second motion of the same frame that is mixed in")

    @chz.validate
    def _sensible(self) -> None:
        for name in ("share", "mix"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"augment.{name}={getattr(self, name):g} must be from 0 to 1")
        for name in ("zoom", "shift", "turn", "shear"):
            if not getattr(self, name) >= 0:
                raise RecipeError(f"augment.{name}={getattr(self, name):g} must be 0 or more")

    def apply(self, frames: UInt8[Tensor, "3 t h w"], rng: np.random.Generator) -> UInt8[Tensor, "3 t h w"]:
        """It always takes thirteen numbers from the generator."""
        moved, place, mixed = rng.random(3).tolist()
        first, second = self.motion(2 * rng.random(5) - 1), self.motion(2 * rng.random(5) - 1)
        if moved >= self.share:
            return frames
        count = frames.shape[1]
        still = frames[:, int(place * count)].float()
        clip = in_motion(still, first, count)
        if weight := self.mix * mixed:
            clip = torch.lerp(clip, in_motion(still, second, count), weight)
        return clip.round().clamp(0, 255).to(torch.uint8)

    def motion(self, drawn: np.ndarray) -> Float[Tensor, "3 3"]:
        """From the places of a frame to those of the frame before; coordinates run from -1 to 1."""
        zoom, along, down, turn, shear = drawn.tolist()
        size, angle = (1 + self.zoom) ** zoom, math.radians(self.turn * turn)
        cos, sin = size * math.cos(angle), size * math.sin(angle)
        slant = self.shear * shear
        return torch.tensor(
            [
                [cos, slant * cos - sin, 2 * self.shift * along],
                [sin, slant * sin + cos, 2 * self.shift * down],
                [0.0, 0.0, 1.0],
            ],
            dtype=torch.float64,
        )


def in_motion(still: Float[Tensor, "c h w"], motion: Float[Tensor, "3 3"], count: int) -> Float[Tensor, "c t h w"]:
    """So many frames, each the one before it moved; the still frame is the middle one."""
    powers = [torch.linalg.matrix_power(motion, number - count // 2) for number in range(count)]
    grid = affine_grid(torch.stack(powers)[:, :2].to(still.dtype), [count, *still.shape], align_corners=False)
    frames = grid_sample(still.expand(count, -1, -1, -1), grid, padding_mode="reflection", align_corners=False)
    return frames.transpose(0, 1)
