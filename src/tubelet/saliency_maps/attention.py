"""Attention maps: how much a frozen image model's own token attends to each place of a frame (UMT, arXiv 2303.16058).

The map that `masker=Attention` keeps by: the class token of a CLIP in its last block, or the pooling probe of a
SigLIP, the mean over heads. Computed once and kept, as the other maps are. Start reading at `fill`.
"""

from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor

from tubelet.corpus.table import Corpus
from tubelet.errors import VideoError
from tubelet.jobs.runner import Task, Work
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.filling import Filled, Map, Running, fill_maps, task_of, usable
from tubelet.saliency_maps.frames import Seen, look, pieces
from tubelet.stores.maps import MapsWriter

NAME = "attention"

Part = tuple[Float32[np.ndarray, "t gh gw"], Float64[np.ndarray, "t"]]


@runtime_checkable
class Teacher(Protocol):
    """A frozen image model: a `ClipAligner`, or anything with these two."""

    identity: str

    def attention(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw"]: ...


def fill(
    corpus: Corpus, teacher: Teacher, rate: float | None, running: Running | None = None, progress: Progress = silent
) -> Filled:
    """Maps of all usable videos; `rate` layers a second, or every frame (None)."""
    videos = usable(corpus)
    method = {"teacher": teacher.identity, "rate": rate or "all"}
    with MapsWriter(corpus, NAME, "scalar", method) as maps:
        has = {video.id: maps.has(video, "") for video in videos}
        tasks = [task_of(video, pieces(video, rate)) for video in videos]
        work = Work(look, partial(attend, teacher=teacher), joined)
        return fill_maps({NAME: maps}, videos, tasks, work, lambda task: has[task.name], running, progress)


def attend(task: Task, seen: Seen, teacher: Teacher) -> Part | None:
    """The map of a piece."""
    frames, times = seen
    if not times.size:
        return None
    found = [teacher.attention(frames[at : at + 64]).numpy() for at in range(0, len(frames), 64)]
    return np.concatenate(found).astype(np.float32), times


def joined(task: Task, found: list[Part | None]) -> dict[tuple[str, str], Map]:
    """The map of a video from those of its pieces."""
    if not (parts := [part for part in found if part is not None]):
        raise VideoError("no frame can be decoded")
    values, times = (np.concatenate(some) for some in zip(*parts, strict=True))
    return {(NAME, ""): (values, times)}
