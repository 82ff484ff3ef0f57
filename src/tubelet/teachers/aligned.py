"""Aligned: the patches of CLIP, SigLIP or the small aligner, frame by frame (UMT, arXiv 2303.16058)."""

from collections.abc import Mapping
from functools import cached_property

import chz
import torch
from einops import rearrange, reduce
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tubelet.aligners.base import Aligner, open_aligner
from tubelet.errors import RecipeError
from tubelet.models.encoder import Encoder
from tubelet.stores.resample import area_weights
from tubelet.teachers.base import Teacher, TeacherModule, check_pixels
from tubelet.types import Clip


@chz.chz
class Aligned(Teacher):
    """Its weights stay where they are: a checkpoint names the aligner and does not hold it."""

    aligner: str = chz.field(default="", doc="folder of an aligner, or folder or hub name of a CLIP or SigLIP")
    reading: str = chz.field(default="dense", doc="how CLIP is read, as in `tubelet saliency CORPUS Text`")
    scorer: str = chz.field(default="raw", doc="which tokens of CLIP are taken, as there")

    @cached_property
    def opened(self) -> Aligner:
        if not self.aligner:
            raise RecipeError(
                "teacher=Aligned needs an aligner: name it with teacher.aligner=CORPUS/aligner, or a CLIP"
            )
        return open_aligner(self.aligner, self.reading, self.scorer)

    def width(self, student: int) -> int:
        return self.opened.width

    def check(self, clip: Clip, stream: str) -> None:
        check_pixels(self, clip, stream)

    def build(self, encoder: Encoder, towers: Mapping[str, nn.Module]) -> "AlignedTeacher":
        return AlignedTeacher(self.opened)


class AlignedTeacher(TeacherModule):
    """The mean over a tubelet's frames of what the aligner says of its patch, by area."""

    def __init__(self, aligner: Aligner):
        super().__init__()
        self.opened = (aligner,)  # in a tuple, so that its weights are no part of the checkpoint

    def tokens(self, video: Shaped[Tensor, "b c t h w"], clip: Clip, stream: str) -> Float[Tensor, "b n d"]:
        frames = rearrange(video, "b c t h w -> (b t) h w c").cpu().numpy()
        patches = self.opened[0].patches(frames).float()  # bt gh gw e
        _, rows, columns = clip.grid
        down, across = (
            torch.from_numpy(area_weights(0.0, 1.0, positions, cells)).to(patches)
            for positions, cells in ((rows, patches.shape[1]), (columns, patches.shape[2]))
        )
        pooled = torch.einsum("r y, f y x e, c x -> f r c e", down, patches, across)
        tokens = reduce(pooled, "(b nt t) r c e -> b (nt r c) e", "mean", b=len(video), t=clip.tubelet_frames)
        return tokens.to(video.device)
