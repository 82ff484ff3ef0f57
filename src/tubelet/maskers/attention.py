"""Attention: keep what a teacher attends to (UMT, arXiv 2303.16058): visible tubelets drawn by its class attention.

The map `attention` holds the attention of a frozen image model's class token to every position, frame by frame.
Invariant: every time step shows exactly as many; the mask does not change when the attention is scaled; with `pick=top`
no tubelet is hidden that is attended to more than a visible one of its time step.

The opposite of text guidance: the teacher's choice is shown. Ours where we know of nothing in the paper: the attention
to a tubelet is the mean over its frames.
"""

from typing import ClassVar, Literal

import chz
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.maskers.base import Share
from tubelet.seeds import gumbel
from tubelet.types import Batch, Clip


@chz.chz
class Attention(Share):
    needs: ClassVar[tuple[str, ...]] = ("attention",)

    ratio: float = chz.field(default=0.8, doc="share of every time step's tubelets that is hidden")
    pick: Literal["sample", "top"] = chz.field(
        default="sample", doc="show tubelets drawn by the attention they get, or those that get the most"
    )

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        shown = batch.maps["attention"].float()
        if self.pick == "sample":
            shown = shown.clamp(min=1e-8).log() + gumbel(key, clip.num_tubelets)
        return -shown
