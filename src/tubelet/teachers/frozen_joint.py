"""FrozenJoint: the encoder of a run with the streams that it was trained to read together (MAViL, arXiv 2212.08071)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import chz
import torch
from torch import nn

from tubelet.errors import RecipeError
from tubelet.models.encoder import Encoder
from tubelet.models.patches import cut
from tubelet.streams import Joint, Stream, encode
from tubelet.teachers.frozen import Frozen, FrozenTeacher
from tubelet.types import CLIP, Batch, Clip, Encoded, Mask


@chz.chz
class FrozenJoint(Frozen):
    """It sees the clip and its `Joint` streams whole and together, so that what it makes of one tells of the others."""

    read: ClassVar[tuple[str, ...]] = (*Frozen.read, "streams")

    streams: Mapping[str, Stream] = chz.field(default_factory=dict, doc="its streams; none: read from the source")

    def check(self, clip: Clip, stream: str) -> None:
        own = self.sizes[1]  # where there is no source, that is said first
        if stream not in self.streams:
            super().check(clip, stream)
        elif (own := self.streams[stream].clip(own)) != clip:
            raise RecipeError(f"the teacher was trained on {own} as its stream {stream}, and this one is {clip}")

    def build(self, encoder: Encoder, towers: Mapping[str, nn.Module]) -> "FrozenJointTeacher":
        own, clip = self.sizes
        return FrozenJointTeacher(own.build(clip), self.streams)


class FrozenJointTeacher(FrozenTeacher):
    def __init__(self, encoder: Encoder, streams: Mapping[str, Stream]):
        super().__init__(encoder)
        joint = {name: stream for name, stream in streams.items() if isinstance(stream.tower, Joint)}
        self.towers = nn.ModuleDict(
            {name: stream.tower.build(encoder, stream.clip(encoder.clip)) for name, stream in joint.items()}
        ).requires_grad_(False)

    @torch.no_grad()
    def look(self, views: Mapping[str, tuple[Clip, Batch]], streams: Sequence[str]) -> dict[str, Encoded]:
        own = {name: self.encoder.clip if name == CLIP else clip for name, (clip, _) in views.items()}
        passes = {}
        for name, (clip, batch) in views.items():
            if name == CLIP or name in self.towers:
                video = self.resized(batch.video, clip) if name == CLIP else batch.video
                passes[name] = cut(video, own[name]), Mask.all_visible(len(batch), clip.num_tubelets, video.device)
        made = encode(
            self.encoder,
            dict(self.towers.items()),
            {name: (tubelets, mask.visible) for name, (tubelets, mask) in passes.items()},
        )
        alone = super().look({name: view for name, view in views.items() if name not in made}, streams)
        return alone | {
            name: Encoded(*views[name], mask, tubelets, made[name].tokens)
            for name, (tubelets, mask) in passes.items()
            if name in streams
        }
