"""Centre: hides the positions nearest the middle of the frame: the centre prior, the control of saliency maps.

No paper's mask; the prior is Judd et al.'s (MIT-CSAIL-TR-2012-001), and arXiv 2408.00759's captions compete with it.
Invariant: the same for every clip, and no nearer position is visible while a farther one is hidden.
"""

from typing import ClassVar

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.maskers.base import Per, Share
from tubelet.types import Batch, Clip


@chz.chz
class Centre(Share):
    random: ClassVar[bool] = False
    per: ClassVar[Per] = "position"

    ratio: float = chz.field(default=0.6, doc="share of the positions that is hidden, in every time step the same ones")

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        time_steps, rows, columns = clip.grid
        row = torch.arange(rows, device=key.device) - (rows - 1) / 2
        column = torch.arange(columns, device=key.device) - (columns - 1) / 2
        distance = torch.hypot(row[:, None], column[None, :])
        return -distance.flatten().repeat(time_steps).expand(len(key), -1)
