"""Attention: where the class token of a frozen image model attends in each frame (UMT, arXiv 2303.16058).

The map that `masker=Attention` keeps by: the class token of a CLIP in its last block, or the pooling probe of a
SigLIP, averaged over heads. Start reading at `Attention`, or at `fill_attention` for a model of your own.
"""

from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal, Protocol, runtime_checkable

import chz
import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor

from tubelet.aligners.base import open_aligner
from tubelet.aligners.clip import ClipAligner
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError, VideoError
from tubelet.jobs.runner import Work
from tubelet.jobs.tasks import Task
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Filled, Map, Running, Source, fill_videos
from tubelet.saliency_maps.frames import Frames, decode_piece, pieces
from tubelet.saliency_maps.text import Rate, maps_per_second, rate_in_words
from tubelet.stores.maps import MapsWriter

NAME = "attention"

Part = tuple[Float32[np.ndarray, "t gh gw"], Float64[np.ndarray, "t"]]


@runtime_checkable
class Teacher(Protocol):
    """A frozen image model: a `ClipAligner`, or anything with these two."""

    identity: str

    def attention(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw"]: ...


@chz.chz
class Attention(Source):
    """Where the class token of a CLIP, or the pooling probe of a SigLIP, attends in each frame."""

    maps: ClassVar[tuple[str, ...]] = (NAME,)

    aligner: str | None = chz.field(default=None, doc="folder or hub name of a CLIP or SigLIP")
    reading: Literal["dense", "upsample"] = chz.field(
        default="dense",
        doc="dense, the frame enlarged until its tokens make the grid; upsample, tokens at its own size, interpolated",
    )
    rate: Rate = chz.field(default=None, doc="maps per second, or all frames (None: 4; all of the synthetic dataset)")

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        rate = maps_per_second(self.rate, corpus)
        teacher = open_aligner(self.aligner, self.reading) if self.aligner else None
        if not isinstance(teacher, ClipAligner):
            raise RecipeError(
                "attention maps are those of a transformer's class token: name a CLIP or SigLIP, as "
                "aligner=openai/clip-vit-base-patch16, or a folder that holds one"
            )
        return fill_attention(corpus, teacher, rate, running, progress)


def fill_attention(
    corpus: Corpus, teacher: Teacher, rate: float | None, running: Running | None = None, progress: Progress = silent
) -> Filled:
    """Maps of all usable videos; `rate` maps a second, or every frame (None)."""
    method = {"teacher": teacher.identity, "rate": rate or "all"}
    with MapsWriter(corpus, NAME, "scalar", method, running=running) as maps:
        work = Work(decode_piece, partial(attend, teacher=teacher), join_pieces)
        filled = fill_videos(corpus, {NAME: maps}, partial(pieces, rate=rate), work, running, progress)
    return replace(filled, method=f"{teacher.identity}, {rate_in_words(rate)}", model=teacher.identity)


def attend(task: Task, decoded: Frames, teacher: Teacher) -> Part | None:
    """The map of a piece."""
    frames, times = decoded
    if not times.size:
        return None
    found = [teacher.attention(frames[at : at + 64]).numpy() for at in range(0, len(frames), 64)]
    return np.concatenate(found).astype(np.float32), times


def join_pieces(task: Task, found: list[Part | None]) -> dict[tuple[str, str], Map]:
    """The map of a video from those of its pieces."""
    if not (parts := [part for part in found if part is not None]):
        raise VideoError("no frame can be decoded")
    values, times = (np.concatenate(some) for some in zip(*parts, strict=True))
    return {(NAME, ""): (values, times)}
