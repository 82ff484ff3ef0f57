"""Unit: the direction of a vector, its length left out (LV-MAE, arXiv 2504.03501)."""

import chz
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from tubelet.models.patches import gather
from tubelet.objectives.base import Sizes
from tubelet.objectives.targets.base import Scores, Target
from tubelet.objectives.targets.raw import normalised
from tubelet.types import Encoded


@chz.chz
class Unit(Target):
    """1 less the cosine with the values of the tubelet. The baseline predicts the mean direction of all that are
    scored."""

    def width(self, sizes: Sizes) -> int:
        return sizes.clip.tubelet_values

    def score(self, prediction: Float[Tensor, "b q v"], seen: Encoded) -> Scores:
        tubelets = gather(seen.tubelets, seen.mask.decode)
        truth = normalize(tubelets.float() if seen.clip.track else normalised(tubelets), dim=-1)
        alike = (normalize(prediction.float(), dim=-1) * truth).sum(-1)
        baseline = 1 - (truth @ normalize(truth.mean((0, 1)), dim=-1)).mean()
        return Scores((1 - alike).clamp(min=0), baseline)
