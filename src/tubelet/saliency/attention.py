"""Attention maps: how much a frozen image model's own token attends to each place of a frame (UMT, arXiv 2303.16058).

The map that `masker=Attention` keeps by: the class token of a CLIP in its last block, or the pooling probe of a
SigLIP, the mean over heads. Computed once and kept, as the other maps are. Start reading at `fill`.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor

from tubelet.data.maps import MapsWriter
from tubelet.data.processes import Failure
from tubelet.data.table import Corpus, Video
from tubelet.saliency.filling import Filled, Map, Progress, quiet, usable, whole_videos, write
from tubelet.saliency.frames import Seen, look, pieces

NAME = "attention"

Part = tuple[Float32[np.ndarray, "t gh gw"], Float64[np.ndarray, "t"]]


@runtime_checkable
class Teacher(Protocol):
    """A frozen image model: a `ClipAligner`, or anything with these two."""

    identity: str

    def attention(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw"]: ...


def fill(corpus: Corpus, teacher: Teacher, rate: float | None, progress: Progress = quiet) -> Filled:
    """Maps of all usable videos; `rate` layers a second, or every frame (None)."""
    videos = usable(corpus)
    method = {"teacher": teacher.identity, "rate": rate or "all"}
    with MapsWriter(corpus, NAME, "scalar", method) as maps:
        todo = [video for video in videos if not maps.has(video, "")]
        failed = write({NAME: maps}, todo, compute(teacher, todo, rate), len(videos), progress)
    return Filled(len(videos) - len(failed), len(todo) - len(failed), failed)


def compute(
    teacher: Teacher, todo: list[Video], rate: float | None
) -> Iterator[tuple[int, Mapping[tuple[str, str], Map] | Failure]]:
    """The map of each video, or why it has none."""

    def attend(place: int, seen: Seen) -> Part | None:
        frames, times = seen
        if not times.size:
            return None
        found = [teacher.attention(frames[at : at + 64]).numpy() for at in range(0, len(frames), 64)]
        return np.concatenate(found).astype(np.float32), times

    for place, found in whole_videos(look, [pieces(video, rate) for video in todo], attend):
        if isinstance(found, Failure):
            yield place, found
        elif parts := [part for part in found if part is not None]:
            values, times = (np.concatenate(some) for some in zip(*parts, strict=True))
            yield place, {(NAME, ""): (values, times)}
        else:
            yield place, Failure("no frame can be decoded")
