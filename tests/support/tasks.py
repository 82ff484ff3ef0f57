"""A task of the smallest size, and batches of random pixels for it."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from tubelet.maskers import Masker, Random
from tubelet.models import Decoder, Vit
from tubelet.models.patches import cut, join
from tubelet.objectives import Objective
from tubelet.streams import Stream
from tubelet.tasks import Pretraining
from tubelet.teachers import Teacher
from tubelet.types import Batch, Clip

CLIP = Clip(frames=4, size=32, tubelet_size=8)
DECODER = Decoder(width=24, depth=1, heads=2)


def task_of(
    objectives: Mapping[str, Objective],
    masker: Masker | None = None,
    streams: Mapping[str, Stream] | None = None,
    teacher: Teacher | None = None,
    clip: Clip = CLIP,
) -> Pretraining:
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=1, heads=2).build(clip)
    masker = masker or Random(ratio=0.5)
    return Pretraining(clip, encoder, masker, objectives, streams=streams, teacher=teacher)


def batch_of(count: int = 3, seed: int = 0, clip: Clip = CLIP, streams: Mapping[str, Clip] | None = None) -> Batch:
    random = torch.Generator().manual_seed(seed)
    shape = (count, 3, clip.frames, clip.size, clip.size)
    return Batch(
        video=torch.randint(0, 256, shape, dtype=torch.uint8, generator=random),
        key=torch.arange(count) * 7919 + seed,
        ids=tuple(map(str, range(count))),
        streams={name: batch_of(count, seed + 1, own) for name, own in (streams or {}).items()},
    )


def with_other_pixels(batch: Batch, where: torch.Tensor, clip: Clip = CLIP) -> Batch:
    """The same batch, other pixels in these tubelets of each clip."""
    tubelets = cut(batch.video, clip)
    for clip_tubelets, chosen in zip(tubelets, where, strict=True):
        clip_tubelets[chosen] ^= 255
    return replace(batch, video=join(tubelets, clip))
