"""Nothing is hidden: what a contrast of whole views, or a clip that another stream is predicted from, asks for.

Invariant: every tubelet is visible, in order.
"""

import chz
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.maskers.base import Masker
from tubelet.types import Batch, Budget, Clip, Mask


@chz.chz
class Nothing(Masker):
    def budget(self, clip: Clip) -> Budget:
        return Budget(0, "nothing", clip.grid)

    def __call__(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Mask:
        return Mask.all_visible(len(key), clip.num_tubelets, key.device)
