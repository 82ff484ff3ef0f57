"""TextFrame: hide what the caption names, in some slots much more than in others.

Ours: the guidance of TGM (arXiv 2408.00759) with the time-only draw of ST-MAE (arXiv 2205.09113).

Hidden in every slot, the subject is never seen: nothing can be learned of how it moves, and a contrast with its
caption can only learn from what is absent. Here each slot draws a number that counts for all its tubelets, so that the
subject is seen at some times and must be told for the others. Law: every clip hides int(ratio * tubelets); with
`slots=0` the draw is by likeness alone, and as `slots` grows whole slots are hidden, as by Frame.
"""

import math
from typing import ClassVar

import chz
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.maskers.base import Masker
from tubelet.maskers.soft import check_temperature, soften, standardise
from tubelet.seeds import fold, gumbel
from tubelet.types import Batch, Budget, Clip, floor_share


@chz.chz
class TextFrame(Masker):
    needs: ClassVar[tuple[str, ...]] = ("text",)

    ratio: float = chz.field(default=0.5, doc="share of the clip's tubelets that is hidden")
    temperature: float = chz.field(
        default=0.5, doc="of the draw, in standard deviations of the clip's similarities; 0 is top"
    )
    slots: float = chz.field(default=2.0, doc="weight of the draw that all tubelets of a slot share, in the same unit")

    @chz.validate
    def _sensible(self) -> None:
        check_temperature(self.temperature)
        if not 0 <= self.slots < math.inf:
            raise RecipeError(f"masker.slots={self.slots} must be 0 (no slot is preferred) or more")

    def budget(self, clip: Clip) -> Budget:
        return Budget(floor_share(clip.num_tubelets, self.ratio), "clip", clip.grid)

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        likeness = soften(standardise(batch.maps["text"]), self.temperature, key)
        shared = gumbel(fold(key, "slots"), clip.grid[0])
        return likeness + self.slots * shared.repeat_interleave(clip.num_places, dim=1)
