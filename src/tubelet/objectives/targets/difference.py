"""Difference: how the frames of a tubelet change, in place of what they show (MotionMAE, arXiv 2210.04154).

From the abstract: beside hidden patches, the temporal difference of nearby frames is predicted. Ours: the differences
of successive frames within a tubelet, of values as the encoder gets them, nothing normalised away.
"""

from typing import ClassVar

import chz
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.models.patches import gather
from tubelet.objectives.base import Sizes
from tubelet.objectives.targets.base import Scores, Target
from tubelet.objectives.targets.raw import normalised
from tubelet.types import Encoded


@chz.chz
class Difference(Target):
    """The baseline predicts that nothing changes."""

    needs_pixels: ClassVar[bool] = True

    def width(self, sizes: Sizes) -> int:
        clip = sizes.clip
        if clip.tubelet_frames < 2:
            raise RecipeError("the target Difference needs tubelets of 2 frames or more, as clip.tubelet_frames=2")
        return clip.tubelet_values // clip.tubelet_frames * (clip.tubelet_frames - 1)

    def score(self, prediction: Float[Tensor, "b q v"], seen: Encoded) -> Scores:
        values = normalised(gather(seen.tubelets, seen.mask.decode))
        frames = rearrange(values, "b q (c t p) -> b q c t p", c=3, t=seen.clip.tubelet_frames)
        change = frames.diff(dim=3).flatten(2)
        return Scores((prediction.float() - change).square().mean(-1), change.square().mean())
