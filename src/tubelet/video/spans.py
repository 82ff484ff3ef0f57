"""Clips of remote files: where the index of a file tells when each frame is shown, only the packets of a clip are read.

What is read is what `Reader` gives for the same times. Start reading at `open_spans`.
"""

import math
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from tubelet.remote.address import is_remote
from tubelet.remote.file import RemoteFile
from tubelet.video.decoding import Cut, open_video
from tubelet.video.file import SAME, Reader
from tubelet.video.members import open_remote
from tubelet.video.reader import open_reader
from tubelet.video.sequences import Stills


def open_spans(path: Path, start: float, end: float, *, reading: str | None = None) -> "Reader | Stills | Spans":
    """As `open_reader`, for who asks for times and frames alone."""
    if not is_remote(path) or reading is not None:
        return open_reader(path, start, end, reading=reading)
    remote = open_remote(path)
    assert remote is not None
    found = indexed(path, remote)
    if found is None:
        return Reader(path, start, end, remote=remote)
    return Spans(path, start, end, remote, *found)


def indexed(path: Path, remote: RemoteFile) -> tuple[Float64[np.ndarray, "t"], Int64[np.ndarray, "t"]] | None:
    """When each frame is shown, and the same in the stream's own unit: of an MP4 whose frames are evenly apart, so that
    the order in which they are decoded does not matter. None where only the packets tell."""
    container, stream = open_video(path, remote=remote)
    with container:
        index = stream.index_entries
        if "mp4" not in container.format.name or len(index) < 2 or stream.frames != len(index):
            return None
        decoded = np.array([entry.timestamp for entry in index], dtype=np.int64)
        origin = stream.start_time or 0
        steps = np.diff(decoded)
        if steps[0] <= 0 or (steps != steps[0]).any() or any(entry.is_discard for entry in index):
            return None
        stamps = decoded - decoded[0] + origin
        return (stamps - origin) * float(stream.time_base), stamps


class Spans:
    """Times and frames of a remote file whose index tells its times."""

    def __init__(
        self,
        path: Path,
        start: float,
        end: float,
        remote: RemoteFile,
        times: Float64[np.ndarray, "t"],
        stamps: Int64[np.ndarray, "t"],
    ) -> None:
        self.path, self.remote = path, remote
        inside = (times >= start - SAME) & (times < end - SAME)
        self.times, self.stamps = times[inside], stamps[inside]

    def frames(
        self, times: "Float64[np.ndarray, 't'] | list[float]", cut: Cut | None = None
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """The frame shown at each time."""
        asked = np.asarray(times, dtype=np.float64)
        places = np.maximum(np.searchsorted(self.times, asked + SAME, side="right") - 1, 0)
        first, last = int(places.min()), int(places.max())
        begin, end = float(self.times[first]), float(self.times[last]) + 2 * SAME
        with Reader(self.path, begin, end, remote=self.remote) as reader:
            if np.array_equal(reader.times, self.times[first : last + 1]):
                return reader.frames(asked, cut)
        with Reader(self.path, -math.inf, math.inf, remote=self.remote) as reader:  # the index does not say the truth
            return reader.frames(asked, cut)

    def __enter__(self) -> "Spans":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.remote.close()
