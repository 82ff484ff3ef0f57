"""Text: hide what the caption names (TGM, arXiv 2408.00759): of each time step the patches most similar to it.

Invariant: every time step hides int(ratio * positions) tubelets, chosen anew in every time step. Sampled at temperature
0 it is `top`, and as the temperature grows it becomes `random`.
"""

from typing import ClassVar, Literal

import chz
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.maskers.base import Share
from tubelet.maskers.soft import check_temperature, soften
from tubelet.seeds import uniform
from tubelet.types import Batch, Clip


@chz.chz
class Text(Share):
    needs: ClassVar[tuple[str, ...]] = ("text",)

    ratio: float = chz.field(default=0.6, doc="share of every time step's tubelets that is hidden")
    pick: Literal["top", "bottom", "random", "sample"] = chz.field(
        default="top", doc="hide the tubelets most like the caption, least like it, any, or drawn by their similarity"
    )
    temperature: float = chz.field(
        default=0.5, doc="of pick=sample, in standard deviations of the clip's similarities; 0 is top"
    )

    @chz.validate
    def _sensible(self) -> None:
        check_temperature(self.temperature)

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        if self.pick == "random":
            return uniform(key, clip.num_tubelets)
        similarity = batch.maps["text"]
        if self.pick == "sample":
            return soften(similarity, self.temperature, key)
        return similarity if self.pick == "top" else -similarity
