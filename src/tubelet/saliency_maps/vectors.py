"""What sources of vector maps share: velocities in pieces of a video become one layer per frame, without gaps.

A worker reads a piece and returns velocities in shares of the frame per second, NaN where unknown. A layer of the map
is the displacement by that velocity until the next frame. Start reading at `fill_vectors`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import VideoError
from tubelet.jobs.runner import Work
from tubelet.jobs.tasks import Task
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Filled, Map, Running, fill_videos
from tubelet.saliency_maps.frames import Piece
from tubelet.stores.maps import MapsWriter
from tubelet.stores.resample import area_weights
from tubelet.video.reader import frame_duration

FASTEST = 60000.0  # float16 ends at 65504
Moving = tuple[Float32[np.ndarray, "_ _ _ 2"], Float64[np.ndarray, "_"]]
"""Velocities at each frame of a piece, in shares of the frame per second, NaN where unknown; when it is shown."""


def fill_vectors(
    corpus: Corpus,
    name: str,
    method: Mapping[str, Any],
    look: Callable[[Piece], Moving],
    pieces: Callable[[Video], Sequence[Piece]],
    running: Running | None = None,
    progress: Progress = silent,
) -> Filled:
    """A vector map of every usable video: `look` reads its pieces in worker processes."""
    with MapsWriter(corpus, name, "vector", method, running=running) as maps:
        return fill_videos(
            corpus, {name: maps}, pieces, Work(look, whole=partial(join_vector_pieces, name=name)), running, progress
        )


def join_vector_pieces(task: Task, parts: Sequence[Moving], name: str) -> dict[tuple[str, str], Map]:
    return {(name, ""): whole_map(parts, task.about)}


def whole_map(parts: Sequence[Moving], fps: float) -> Map:
    """One layer per frame, and timestamps that end where the last frame does."""
    there = [part for part in parts if part[1].size]
    if not there:
        raise VideoError("no frame can be decoded")
    velocities = nearest_in_time(*(np.concatenate(both) for both in zip(*there, strict=True)))
    times = np.concatenate([times for _, times in there])
    stamps = np.append(times, times[-1] + frame_duration(times, fps))
    moves = velocities * np.diff(stamps)[:, None, None, None]
    return np.clip(moves, -FASTEST, FASTEST).astype(np.float32), stamps


def nearest_in_time(
    velocities: Float32[np.ndarray, "t gh gw 2"], times: Float64[np.ndarray, "t"]
) -> Float32[np.ndarray, "t gh gw 2"]:
    """Where a position has none, that of the nearest frame that has one there, of two equally near the later; else 0.

    The later, because a frame without vectors is a key frame, and those stand where a new scene begins.
    """
    known: Bool[np.ndarray, "t gh gw"] = np.isfinite(velocities).all(-1)
    count = len(velocities)
    frame = np.arange(count)[:, None, None]
    before = np.maximum.accumulate(np.where(known, frame, -1), axis=0)
    after = np.minimum.accumulate(np.where(known, frame, count)[::-1], axis=0)[::-1]
    padded = np.concatenate([[-np.inf], times, [np.inf]])
    to_before, to_after = times[:, None, None] - padded[before + 1], padded[after + 1] - times[:, None, None]
    nearest = np.where(to_after <= to_before + 1e-9, after, before)
    taken = np.take_along_axis(velocities, np.clip(nearest, 0, count - 1)[..., None], axis=0)
    never = (before < 0) & (after == count)
    return np.where(never[..., None], np.float32(0), taken)


def to_cells(
    field: Float[np.ndarray, "*t h w"],
    rows: int,
    columns: int,
    height: float | None = None,
    width: float | None = None,
) -> Float32[np.ndarray, "*t {rows} {columns}"]:
    """The mean over each cell of a grid over the frame, which covers `height` x `width` of the field (all)."""
    down = area_weights(0.0, (height or field.shape[-2]) / field.shape[-2], rows, field.shape[-2])
    across = area_weights(0.0, (width or field.shape[-1]) / field.shape[-1], columns, field.shape[-1])
    return down @ field.astype(np.float32) @ across.T
