"""SmoothNoise: smooth blobs: the peaks of white noise, low-passed in space and time, are hidden.

The coloured-noise masks of ColorMAE (arXiv 2407.13036) on a video's grid. Invariant: exact counts per time step; as
both widths go to 0 it is a random mask per time step, as `sigma_time` grows a tube.
"""

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.maskers.base import Share
from tubelet.seeds import uniform
from tubelet.types import Batch, Clip


@chz.chz
class SmoothNoise(Share):
    ratio: float = chz.field(default=0.75, doc="share of every time step's tubelets that is hidden")
    sigma_space: float = chz.field(default=1.5, doc="standard deviation of the blur in space, in positions")
    sigma_time: float = chz.field(default=1.5, doc="standard deviation of the blur in time, in time steps")

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        time_steps, rows, columns = clip.grid
        noise = uniform(key, clip.num_tubelets).unflatten(1, (time_steps, rows, columns)) - 0.5
        for axis, (size, deviation) in enumerate(
            ((time_steps, self.sigma_time), (rows, self.sigma_space), (columns, self.sigma_space)), start=1
        ):
            noise = torch.tensordot(noise, gaussian(size, deviation, noise.device), ([axis], [0])).movedim(-1, axis)
        return noise.flatten(1)


def gaussian(size: int, deviation: float, device: torch.device) -> Float[Tensor, "{size} {size}"]:
    """A blur as a matrix; each output's weights sum to 1, also at the border."""
    distance = torch.arange(size, device=device)[:, None] - torch.arange(size, device=device)[None, :]
    weights = torch.exp(-0.5 * (distance / max(deviation, 1e-3)) ** 2)
    return weights / weights.sum(0)
