"""All decoding, by time: the timestamps of a video, and the frame shown at a moment. Start reading at `open_reader`."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from tubelet.errors import VideoError
from tubelet.video.decoding import Cut, Turn, turn_of
from tubelet.video.file import SAME, Reader
from tubelet.video.limits import limits, within
from tubelet.video.reading import Reading
from tubelet.video.sequences import Stills, is_sequence

__all__ = [
    "SAME",
    "Cut",
    "Reader",
    "Turn",
    "frame_duration",
    "glance",
    "open_reader",
    "read_frames",
    "read_span",
    "timestamps",
    "turn_of",
]


def open_reader(
    path: str | Path,
    start: float = -math.inf,
    end: float = math.inf,
    *,
    reading: str | None = None,
    vectors: bool = False,
) -> Reader | Stills:
    """A video file or an image sequence, read as the column `reading` of its row says."""
    how = Reading.parse(reading)
    if is_sequence(Path(path)):
        return Stills(path, start, end, how)
    return Reader(path, start, end, vectors, how)


def timestamps(path: str | Path, reading: str | None = None) -> Float64[np.ndarray, "t"]:
    """When each frame of the file is shown, in seconds, ascending. Nothing is decoded unless it must be."""
    with open_reader(path, reading=reading) as reader:
        return reader.times


def read_frames(
    path: str | Path, times: Sequence[float] | Float64[np.ndarray, "t"], reading: str | None = None
) -> UInt8[np.ndarray, "t h w 3"]:
    """The frame shown at each time, upright."""
    asked = np.asarray(times, dtype=np.float64)
    with open_reader(path, float(asked.min()), float(asked.max()) + SAME, reading=reading) as reader:
        return reader.frames(asked)


def glance(path: str | Path, moment: float, reading: str | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """One frame for a picture, within the limits of this command."""
    return within(limits(), lambda: read_frames(path, [moment], reading))[0]


def read_span(
    path: str | Path, start: float = 0.0, end: float = math.inf, reading: str | None = None
) -> tuple[UInt8[np.ndarray, "t h w 3"], Float64[np.ndarray, "t"]]:
    """Every frame that starts from `start` (included) to `end` (excluded), in order, with its time."""
    with open_reader(path, start, end, reading=reading) as reader:
        times = reader.times
        if not times.size:
            raise VideoError(f"{Path(path).name} has no frame from {start:g} s to {end:g} s")
        frames = reader.frames(times)
        return frames, times


def frame_duration(times: Float64[np.ndarray, "t"], rate: float) -> float:
    """How long the last frame is shown: as long as frames usually are."""
    steps = np.diff(times)
    steps = steps[steps > SAME]
    return float(np.median(steps)) if steps.size else 1 / (rate or 25.0)
