"""Features: what a teacher makes of the hidden tubelets, in place of their pixels (V-JEPA, arXiv 2404.08471)."""

from typing import ClassVar, Literal

import chz
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tubelet.models.patches import gather
from tubelet.objectives.base import Sizes
from tubelet.objectives.targets.base import Scores, Target
from tubelet.types import Encoded


@chz.chz
class Features(Target):
    """The teacher sees the whole clip; its grid is the student's. The baseline predicts the mean of what is scored."""

    needs_teacher: ClassVar[bool] = True

    normalise: bool = chz.field(default=True, doc="normalise each of the teacher's tokens (layer norm without weights)")
    loss: Literal["mse", "l1", "cosine"] = chz.field(default="mse", doc="what is summed over the values of a token")

    def width(self, sizes: Sizes) -> int:
        assert sizes.teacher is not None
        return sizes.teacher.width

    def score(self, prediction: Float[Tensor, "b q v"], seen: Encoded) -> Scores:
        assert seen.teacher is not None
        tokens = gather(seen.teacher.tokens, seen.mask.decode).float()
        if self.normalise:
            tokens = F.layer_norm(tokens, tokens.shape[-1:])
        mean = tokens.mean((0, 1), keepdim=True).expand_as(tokens)
        return Scores(self.error(prediction.float(), tokens), self.error(mean, tokens).mean())

    def error(self, one: Float[Tensor, "b q v"], other: Float[Tensor, "b q v"]) -> Float[Tensor, "b q"]:
        if self.loss == "cosine":
            return 2 - 2 * F.cosine_similarity(one, other, dim=-1)
        difference = one - other
        return (difference.abs() if self.loss == "l1" else difference.square()).mean(-1)
