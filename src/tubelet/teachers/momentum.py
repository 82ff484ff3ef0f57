"""Momentum: the running average of the encoder itself (MoCo, arXiv 1911.05722; BYOL, arXiv 2006.07733)."""

from collections.abc import Mapping

import chz
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.models.average import Average
from tubelet.models.encoder import Encoder
from tubelet.models.patches import cut
from tubelet.streams import tower_of
from tubelet.teachers.base import Teacher, TeacherModule
from tubelet.types import CLIP, Clip, Mask


@chz.chz
class Momentum(Teacher):
    decay: float = chz.field(default=0.99, doc="what of the average stays at a step; less at first: (1 + t) / (10 + t)")

    @chz.validate
    def _share(self) -> None:
        if not 0 <= self.decay <= 1:
            raise RecipeError(f"teacher.decay={self.decay:g} must be from 0 to 1")

    def width(self, student: int) -> int:
        return student

    def build(self, encoder: Encoder, towers: Mapping[str, nn.Module]) -> "MomentumTeacher":
        return MomentumTeacher(self.decay, Followed(encoder, towers))


class Followed(nn.Module):
    """The encoder and the towers, as one module."""

    def __init__(self, encoder: Encoder, towers: Mapping[str, nn.Module]):
        super().__init__()
        self.encoder = encoder
        self.towers = nn.ModuleDict(towers)

    def forward(self, video: Shaped[Tensor, "b c t h w"], clip: Clip, stream: str) -> Float[Tensor, "b n d"]:
        everywhere = Mask.all_visible(len(video), clip.num_tubelets, video.device).visible
        if stream == CLIP:
            return self.encoder(cut(video, clip), everywhere)
        return tower_of(dict(self.towers.items()), stream)(self.encoder, cut(video, clip), everywhere)


class MomentumTeacher(TeacherModule):
    def __init__(self, decay: float, followed: Followed):
        super().__init__()
        self.average = Average(followed, decay)

    def tokens(self, video: Shaped[Tensor, "b c t h w"], clip: Clip, stream: str) -> Float[Tensor, "b n d"]:
        return self.average.model(video, clip, stream)

    def after_step(self, encoder: Encoder, towers: Mapping[str, nn.Module]) -> None:
        self.average.follow(Followed(encoder, towers))
