"""Random: tubelets drawn uniformly at random (MAE, arXiv 2111.06377; ST-MAE, arXiv 2205.09113).

Invariant: the visible count is floored.
"""

from typing import ClassVar

import chz
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.maskers.base import Per, Share
from tubelet.seeds import uniform
from tubelet.types import Batch, Clip


@chz.chz
class Random(Share):
    per: ClassVar[Per] = "clip"
    ratio: float = chz.field(default=0.9, doc="share of the clip's tubelets that is hidden")

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        return uniform(key, clip.num_tubelets)
