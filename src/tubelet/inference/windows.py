"""Windows of a video, of any length: where each begins and ends, and which are read together. Start at `Windows`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from tubelet.corpus.probe import moments
from tubelet.errors import RecipeError, VideoError
from tubelet.inference.reading import Moment, Opening, Piece
from tubelet.inference.rows import VideoRow
from tubelet.types import Clip
from tubelet.video.reader import SAME, frame_duration
from tubelet.video.sampling import Sampling

TOGETHER = 16  # windows that are read from one opening of a file, at most
HELD = 64 << 20  # bytes of their clips


@dataclass(frozen=True)
class Windows:
    """Windows of `seconds`; each begins `overlap` seconds before the one in front of it ends."""

    seconds: float
    overlap: float = 0.0  # seconds

    @classmethod
    def of(cls, seconds: float | int, overlap: float | int | str = 0.0) -> "Windows":
        """`overlap` is a share of the window (0.5, 50%) where it is below 1, else seconds (1.5, 0.5s)."""
        found = re.fullmatch(r"\s*(\S+?)\s*(s|%)?\s*", str(overlap).lower())
        try:
            value = float(found[1] if found else "") * (0.01 if found and found[2] == "%" else 1.0)
        except ValueError:
            value = -1.0
        if found is None or not value >= 0:
            raise RecipeError(f"--overlap {overlap} is a share of the window, as 0.5 or 50%, or seconds, as 1.5s")
        share = found[2] == "%" or (found[2] is None and value < 1)
        windows = cls(float(seconds), value * float(seconds) if share else value)
        if not 0 < windows.seconds < float("inf"):
            raise RecipeError(f"windows last a positive number of seconds, not {seconds:g}")
        if not windows.overlap < windows.seconds:
            raise RecipeError(f"--overlap {overlap} must be shorter than the window of {seconds:g} s, or none moves on")
        return windows

    def spans(self, begin: float, length: "Length") -> Iterator[tuple[float, float]]:
        """(start, end) of each, from `begin` on. The last ends with the video and may be shorter than the others; a
        window that would hold no frame that the one before does not hold is none."""
        number = 0
        while True:
            start = begin + number * (self.seconds - self.overlap)
            end = min(start + self.seconds, length.end)
            if end > length.first + SAME:
                yield start, end
            if start + self.seconds > length.last + SAME:
                return
            number += 1


@dataclass(frozen=True)
class Length:
    """When the first and the last frame of a row are shown, and the last no more."""

    first: float
    last: float
    end: float


@dataclass(frozen=True)
class Measuring:
    """A row whose length is asked for."""

    row: VideoRow

    @property
    def path(self) -> Path:
        return Path(self.row.path)


def length_of(asked: Measuring) -> Length:
    """Runs in a worker."""
    begin = asked.row.start or -np.inf
    stop = np.inf if asked.row.end is None else asked.row.end
    times, rate = moments(asked.path, begin, stop, asked.row.reading)
    if not times.size:
        raise VideoError(f"no frame from {asked.row.start:g} s" + (f" to {stop:g} s" if np.isfinite(stop) else ""))
    first, last = float(times[0]), float(times[-1])
    return Length(first, last, min(stop, last + frame_duration(times, rate)))


def pieces_of(row: VideoRow, length: Length, windows: Windows, clip_bytes: int) -> Iterator[Piece]:
    """The windows of a row, those that are read together side by side."""
    together = max(1, min(TOGETHER, HELD // clip_bytes))
    spans = windows.spans(row.start, length)
    while some := list(islice(spans, together)):
        rows = tuple(replace(row, start=start, end=end) for start, end in some)
        parts = tuple(Moment(start, end) for start, end in some)
        yield Piece(rows, (Opening(Path(row.path), some[0][0], some[-1][1], parts, row.reading),))


def too_short(windows: Windows, sampling: Sampling, clip: Clip) -> str | None:
    """What to know of windows that hold less than a clip spans."""
    fps = 30.0 if sampling.step_ms is None else 0.0
    span = sampling.seconds(clip, fps)
    if not np.isfinite(span) or windows.seconds >= span:
        return None
    at = " at 30 frames per second" if fps else ""
    done = {"repeat": "the last frame of each is repeated", "stretch": "frames are shown several times"}
    what = done.get(sampling.short, "a clip of them is refused")
    return (
        f"NOTE: a clip spans {span:.3g} s{at}, and windows of {windows.seconds:g} s are shorter: {what}; "
        f"--windows {np.ceil(10 * span) / 10:g} holds a whole one"
    )
