"""PerTubelet: pixels, all values of a tubelet less their common mean, over their spread (ST-MAE, arXiv 2205.09113).

As in the official code, mae_st: values as the encoder gets them, the spread unbiased and its epsilon inside the root.
Of a tubelet one frame is predicted: of 16 frames in 8 tubelets those at `linspace(0, 15, 8)`, rounded down, so that the
last tubelet takes its second frame and the others their first.
"""

from typing import ClassVar, Literal

import chz
import torch
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tubelet.models.patches import gather
from tubelet.objectives.base import Sizes
from tubelet.objectives.targets.base import EPS, PixelTarget, Scores, Standardised
from tubelet.objectives.targets.raw import is_flat, normalised, of_colours
from tubelet.types import Clip, Encoded


@chz.chz
class PerTubelet(PixelTarget):
    needs_pixels: ClassVar[bool] = True

    frames: Literal["one", "all"] = chz.field(default="one", doc="frames of a tubelet that are predicted")

    def width(self, sizes: Sizes) -> int:
        clip = sizes.clip
        return clip.tubelet_values // clip.tubelet_frames if self.frames == "one" else clip.tubelet_values

    def score(self, prediction: Float[Tensor, "b q v"], seen: Encoded) -> Scores:
        target = self.standardise(gather(seen.tubelets, seen.mask.decode), seen.mask.decode, seen.clip)
        per_token = (prediction.float() - target.values).square().mean(-1)
        return Scores(per_token, target.mean_prediction_loss, {"flat": target.flat.float().mean()})

    @torch.no_grad()
    def standardise(self, tubelets: UInt8[Tensor, "b q p"], where: Int64[Tensor, "b q"], clip: Clip) -> Standardised:
        if self.frames == "one":
            frames = rearrange(tubelets, "b q (c t p) -> b q t (c p)", c=3, t=clip.tubelet_frames)
            chosen = predicted_frames(clip, where.device)[where // clip.num_positions]  # b q
            tubelets = frames.gather(2, chosen[..., None, None].expand(-1, -1, 1, frames.shape[-1])).squeeze(2)
        values = normalised(tubelets)
        middle = values.mean(-1, keepdim=True)
        spread = (values.var(-1, keepdim=True) + EPS).sqrt()
        colour, contrast = of_colours(values)
        mean, std = 255 * (contrast * middle + colour), 255 * (contrast * spread - EPS)
        values = (values - middle) / spread
        return Standardised(values, mean, std, values.square().mean(), is_flat(tubelets))

    def fill(self, values: Float[Tensor, "*batch v"], clip: Clip) -> Float[Tensor, "*batch p"]:
        if self.frames == "all":
            return values
        each = values.unflatten(-1, (3, 1, -1))
        return each.expand(*each.shape[:-2], clip.tubelet_frames, each.shape[-1]).flatten(-3)


def predicted_frames(clip: Clip, device: torch.device) -> Int64[Tensor, "nt"]:
    """Of the tubelets of each time step, which of their frames is predicted."""
    time_steps = clip.grid[0]
    frames = torch.linspace(0, clip.frames - 1, time_steps, dtype=torch.float64).long()
    return (frames - torch.arange(time_steps) * clip.tubelet_frames).to(device)
