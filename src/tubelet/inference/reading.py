"""Clips of a file as a worker reads them: several moments and squares of it from one opening. Start at `clips_of`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from tubelet.corpus.schema import Video
from tubelet.errors import VideoError
from tubelet.inference.rows import VideoRow
from tubelet.jobs.tasks import Task
from tubelet.loading.reader import around
from tubelet.types import Clip
from tubelet.video.crop import Crop, crop_frames
from tubelet.video.limits import Undecodable, limits, within
from tubelet.video.reader import SAME, Cut, open_reader
from tubelet.video.sampling import Sampling
from tubelet.video.views import CENTRE, View


@dataclass(frozen=True)
class Moment:
    """A clip to be read: from a part of the file, beginning at this share of what is possible; one for each square."""

    start: float
    end: float
    time: float | None = None  # None: in the middle
    indices: tuple[float, ...] = (CENTRE.index,)


@dataclass(frozen=True)
class Opening:
    """What is read from one opening of a file."""

    path: Path
    start: float
    end: float
    moments: tuple[Moment, ...]
    reading: str | None = None  # of the row of a corpus


@dataclass(frozen=True)
class Piece:
    """Rows whose clips a worker reads together, and the number of clips of each."""

    rows: tuple[VideoRow, ...]
    looks: tuple[Opening, ...]

    @property
    def path(self) -> Path:
        return Path(self.rows[0].path)

    @property
    def task(self) -> Task:
        return Task(self.rows[0].key, self.rows[0].id, (self,), self.rows)


def piece_of(
    row: VideoRow, video: Video | None, clip: Clip, sampling: Sampling, views: Sequence[View] = (CENTRE,)
) -> Piece:
    """A row as a whole, seen by these views; of a long row of a corpus only the parts around its clips are read."""
    path, looks = Path(row.path), []
    for time in dict.fromkeys(view.time for view in views):
        indices = tuple(view.index for view in views if view.time == time)
        start, end = -np.inf if video is None and not row.start else row.start, np.inf if row.end is None else row.end
        if video is not None:
            start, end = around(video, sampling.seconds(clip, video.fps), 0.5 if time is None else time)
        looks.append(Opening(path, start, end, (Moment(-np.inf, np.inf, time, indices),), row.reading))
    return Piece((row,), tuple(looks))


def clips_of(piece: Piece, clip: Clip, sampling: Sampling) -> UInt8[np.ndarray, "c 3 t h w"]:
    """Runs in a worker: the clips of every row, in order."""
    clips: list[Tensor] = []
    for look in piece.looks:
        # of many clips together no frame is kept larger than it is shown
        cut = partial(small_square, size=clip.size) if len(look.moments) > 1 else None
        clips += cropped(look, frames_of(look, clip, sampling, cut), clip)
    return torch.stack(clips).numpy()


def frames_of(
    look: Opening, clip: Clip, sampling: Sampling, cut: Cut | None = None
) -> list[UInt8[np.ndarray, "t h w 3"]]:
    """The frames of each moment, each decoded once."""
    with open_reader(look.path, look.start, look.end, reading=look.reading) as reader:
        times = reader.times
        chosen = [
            sampling.times(part_of(times, moment), clip, "centre" if moment.time is None else moment.time).times
            for moment in look.moments
        ]
        if len(chosen) == 1:
            return [reader.frames(chosen[0], cut)]
        every = np.unique(np.concatenate(chosen))
        frames = reader.frames(every, cut)
        return [frames[np.searchsorted(every, some)] for some in chosen]


def part_of(times: Float64[np.ndarray, "all"], moment: Moment) -> Float64[np.ndarray, "some"]:
    """The frames that start in this part; where none does, the one that is shown."""
    inside = times[(times >= moment.start - SAME) & (times < moment.end - SAME)]
    if not inside.size and times.size and np.isfinite(moment.start):
        return np.array([moment.start])
    return inside


def cropped(
    look: Opening, shown: Sequence[UInt8[np.ndarray, "t h w 3"]], clip: Clip
) -> Iterator[UInt8[Tensor, "3 t size size"]]:
    for moment, frames in zip(look.moments, shown, strict=True):
        for index in moment.indices:
            yield crop_frames(frames, Crop.along(frames.shape[1], frames.shape[2], index), clip.size)


def small_square(frame: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    square = crop_frames(frame[None], Crop.centre(frame.shape[0], frame.shape[1]), size)
    return square[:, 0].permute(1, 2, 0).contiguous().numpy()


def read_here(piece: Piece, clip: Clip, sampling: Sampling) -> UInt8[Tensor, "c 3 t h w"]:
    """The same in this process, within the limits of time and memory; the error names the file."""

    clips: list[Any] = []
    for look in piece.looks:
        try:
            shown = within(limits(), partial(frames_of, look, clip, sampling))
        except VideoError as error:
            raise with_path(error, piece.path) from error
        clips += cropped(look, shown, clip)
    return torch.stack(clips)


def with_path(error: VideoError, path: Path) -> VideoError:
    """The error with the file that it is about, and its status."""

    return Undecodable(getattr(error, "status", "unreadable"), f"{path}: {error}")


def measure_tasks(
    results: Sequence[tuple[Task, Sequence[UInt8[np.ndarray, "c 3 t h w"]]]],
    batch: int,
    measure: Callable[[Tensor], dict[str, Tensor]],
) -> Iterator[tuple[Task, dict[str, Tensor]]]:
    """Each task with what is measured of its clips, a batch of clips at a time, of several tasks together."""
    counts = [len(clips) for _, (clips,) in results]
    every = np.concatenate([clips for _, (clips,) in results])
    parts = [measure(torch.from_numpy(every[at : at + batch])) for at in range(0, len(every), batch)]
    values = {name: torch.cat([part[name] for part in parts]).split(counts) for name in parts[0]}
    for index, (task, _) in enumerate(results):
        yield task, {name: some[index] for name, some in values.items()}


def measure_shard(
    results: Sequence[tuple[Task, Sequence[UInt8[np.ndarray, "c 3 t h w"]]]],
    batch: int,
    measure: Callable[[Tensor], dict[str, Tensor]],
) -> list[dict[str, Tensor]]:
    """What is measured of the clips of each task of a shard."""
    return [values for _, values in measure_tasks(results, batch, measure)]
