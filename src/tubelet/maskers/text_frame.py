"""TextFrame: hide what the caption names, in some time steps much more than in others.

Ours: the guidance of TGM (arXiv 2408.00759) with the time-only draw of ST-MAE (arXiv 2205.09113).

Hidden in every time step, the subject is never seen: nothing can be learned of how it moves, and a contrast with its
caption can only learn from what is absent. Here each time step draws a number that counts for all its tubelets, so that
the subject is seen at some times and must be predicted for the others. Invariant: every clip hides int(ratio *
tubelets); with `time_step_weight=0` the draw is by similarity alone, and as `time_step_weight` grows whole time steps
are hidden, as by Frame.
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
    time_step_weight: float = chz.field(
        default=2.0, doc="weight of the draw that all tubelets of a time step share, in the same unit"
    )

    @chz.validate
    def _sensible(self) -> None:
        check_temperature(self.temperature)
        if not 0 <= self.time_step_weight < math.inf:
            raise RecipeError(
                f"masker.time_step_weight={self.time_step_weight} must be 0 (no time step is preferred) or more"
            )

    def budget(self, clip: Clip) -> Budget:
        return Budget(floor_share(clip.num_tubelets, self.ratio), "clip", clip.grid)

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        similarity = soften(standardise(batch.maps["text"]), self.temperature, key)
        shared = gumbel(fold(key, "slots"), clip.grid[0])
        return similarity + self.time_step_weight * shared.repeat_interleave(clip.num_positions, dim=1)
