"""Oracle: hide the subject itself, from the ground truth: guidance with perfect maps.

No paper's mask; it bounds the semantic masks, such as SemMAE's (arXiv 2206.10207) and TGM's (arXiv 2408.00759). The map
`oracle` holds the share of every tubelet that the subject covers. Invariant: every time step hides exactly as many, the
tubelets of the subject first, by cover (to 1/1024), and then others by chance.
"""

from typing import ClassVar, Literal

import chz
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.maskers.base import Share
from tubelet.seeds import uniform
from tubelet.types import Batch, Clip


@chz.chz
class Oracle(Share):
    needs: ClassVar[tuple[str, ...]] = ("oracle",)

    ratio: float = chz.field(default=0.6, doc="share of every time step's tubelets that is hidden")
    pick: Literal["top", "bottom"] = chz.field(default="top", doc="hide the subject first, or last")

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        cover = batch.maps["oracle"].float()
        by_chance = uniform(key, clip.num_tubelets) / 1024  # most tubelets hold nothing of the subject: they are tied
        return (cover if self.pick == "top" else -cover) + by_chance
