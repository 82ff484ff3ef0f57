"""Change: whole time steps are hidden, first those most like the one before them.

Where something changes, the clip stays visible (LV-MAE, arXiv 2504.03501, its semantic masks).

From code (amazon-science/lv-mae): c_t is the cosine of a time step's values with those of the one before, c_0 is 0; the
lowest stay, as many as the floored share. A comment there says the reverse. Ours: for clips of frames, too, whose
values are pixels; there neighbours are so alike that rounding decides.

Invariant: no hidden time step is less like its predecessor than a visible one.
"""

import chz
import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cosine_similarity

from tubelet.maskers.base import Masker
from tubelet.types import Batch, Budget, Clip, floor_share


@chz.chz
class Change(Masker):
    ratio: float = chz.field(default=0.5, doc="share of the time steps that is hidden")

    def budget(self, clip: Clip) -> Budget:
        steps = clip.grid[0]
        return Budget((steps - floor_share(steps, 1 - self.ratio)) * clip.num_positions, "clip", clip.grid)

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        steps = rearrange(batch.video.float(), "b c (t f) h w -> b t (c f h w)", t=clip.grid[0])
        alike = torch.zeros_like(steps[..., 0])
        alike[:, 1:] = cosine_similarity(steps[:, :-1], steps[:, 1:], dim=-1)
        return alike.repeat_interleave(clip.num_positions, dim=1)
