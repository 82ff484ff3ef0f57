"""Raw: values as the encoder gets them, nothing taken away (MARLIN, arXiv 2211.06627; HVM-1, arXiv 2407.18067)."""

import chz
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from tubelet.models.patches import MEAN, STD, gather
from tubelet.objectives.base import Sizes
from tubelet.objectives.targets.base import EPS, PixelTarget, Scores, Standardised
from tubelet.types import Clip, Encoded


@chz.chz
class Raw(PixelTarget):
    """Pixels, or the values of another signal. The baseline predicts, for each colour or channel, the mean over all
    tubelets that are scored."""

    def width(self, sizes: Sizes) -> int:
        return sizes.clip.tubelet_values

    def score(self, prediction: Float[Tensor, "b q v"], seen: Encoded) -> Scores:
        tubelets = gather(seen.tubelets, seen.mask.decode)
        values = tubelets.float() if seen.clip.track else normalised(tubelets)
        colours = values.unflatten(-1, (seen.clip.channels, -1))
        baseline = (colours - colours.mean((0, 1, 3), keepdim=True)).square().mean()
        return Scores((prediction.float() - values).square().mean(-1), baseline)

    def standardise(self, tubelets: UInt8[Tensor, "b q p"], where: Int64[Tensor, "b q"], clip: Clip) -> Standardised:
        values = normalised(tubelets)
        colours = values.unflatten(-1, (3, -1))
        baseline = (colours - colours.mean((0, 1, 3), keepdim=True)).square().mean()
        mean, std = (255 * colour.expand(*values.shape[:2], 3) for colour in of_colours(values))
        return Standardised(values, mean, std - 255 * EPS, baseline, is_flat(tubelets))


def of_colours(like: Tensor) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Mean and standard deviation of each colour in ImageNet, of values in [0, 1]."""
    return like.new_tensor(MEAN), like.new_tensor(STD)


@torch.no_grad()
def normalised(tubelets: UInt8[Tensor, "b q p"]) -> Float[Tensor, "b q p"]:
    """Pixels less the mean of their colour in ImageNet, over its standard deviation: what enters the encoder."""
    values = tubelets.float().unflatten(-1, (3, -1)) / 255
    mean, std = of_colours(values)
    return ((values - mean[:, None]) / std[:, None]).flatten(-2)


def is_flat(tubelets: UInt8[Tensor, "b q p"]) -> Bool[Tensor, "b q"]:
    """Tubelets that vary in no colour."""
    colours = tubelets.unflatten(-1, (3, -1))
    return (colours == colours[..., :1]).flatten(-2).all(-1)
