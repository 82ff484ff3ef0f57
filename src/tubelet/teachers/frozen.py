"""Frozen: the encoder of a run, of VideoMAE files or of the hub, as it is."""

from collections.abc import Mapping
from typing import ClassVar

import chz
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from tubelet.errors import RecipeError
from tubelet.models.encoder import Encoder, Vit
from tubelet.teachers.base import Teacher, TeacherModule, check_pixels
from tubelet.types import Clip


@chz.chz
class Frozen(Teacher):
    """Size and clips are read from the source. Frames of another size are resized where the grid stays the same."""

    read: ClassVar[tuple[str, ...]] = ("encoder", "clip")  # fields that the source knows

    init: str = chz.field(default="", doc="whose encoder: a run, VideoMAE weights (file or folder), or a hub name")
    encoder: Vit | None = chz.field(default=None, doc="its size; None: read from the source")
    clip: Clip | None = chz.field(default=None, doc="the clips that it was trained on; None: read from the source")

    @property
    def sizes(self) -> tuple[Vit, Clip]:
        if not self.init:
            raise RecipeError("teacher=Frozen needs a source: name it with teacher.init=RUN")
        if self.encoder is None or self.clip is None:
            raise RecipeError(f"teacher.init={self.init}: its size is unknown; give teacher.encoder and teacher.clip")
        return self.encoder, self.clip

    def width(self, student: int) -> int:
        return self.sizes[0].width

    def check(self, clip: Clip, stream: str) -> None:
        check_pixels(self, clip, stream)
        own = self.sizes[1]
        if (own.grid, own.frames) != (clip.grid, clip.frames):
            theirs, ours = ("x".join(map(str, (one.frames, *one.grid))) for one in (own, clip))
            raise RecipeError(
                f"the teacher's clips have {theirs} frames, time steps, rows and columns, those of {stream} {ours}; "
                "the grids must be equal, so that each token has one to learn from"
            )

    def build(self, encoder: Encoder, towers: Mapping[str, nn.Module]) -> "FrozenTeacher":
        own, clip = self.sizes
        return FrozenTeacher(own.build(clip))


class FrozenTeacher(TeacherModule):
    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder.requires_grad_(False)

    def tokens(self, video: Shaped[Tensor, "b c t h w"], clip: Clip, stream: str) -> Float[Tensor, "b n d"]:
        return self.encoder.encode(self.resized(video, clip))

    def resized(self, video: Shaped[Tensor, "b c t h w"], clip: Clip) -> Shaped[Tensor, "b c t y x"]:
        """Frames of the size that it was trained on."""
        size = self.encoder.clip.size
        if size == clip.size:
            return video
        frames = video.flatten(1, 2).float()
        resized = functional.interpolate(frames, size=(size, size), mode="bilinear", antialias=True)
        return resized.unflatten(1, video.shape[1:3])
