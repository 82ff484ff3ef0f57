"""Which files a browser plays as they are, and the others encoded anew. Start reading at `Playable`.

What is encoded has the times of the table: frames as the corpus reads them (corrections of its row included), as
H.264 of even size. Of a long video that is a part about the moment that is asked for.
"""

import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Float64, UInt8

from tubelet.corpus.schema import Video
from tubelet.errors import VideoError
from tubelet.remote.address import is_remote
from tubelet.saliency_maps.frames import decode_piece, pieces
from tubelet.video.crop import resize
from tubelet.video.decoding import open_video
from tubelet.video.limits import limits, within
from tubelet.video.members import Member
from tubelet.video.reader import open_reader
from tubelet.video.sequences import is_sequence

# Container of FFmpeg -> its type, and the codecs that today's browsers play in it; all at 8 bits, 4:2:0.
PLAYS = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("video/mp4", ("h264", "av1", "vp9")),
    "matroska,webm": ("video/webm", ("vp8", "vp9", "av1")),
}
FORMATS = ("yuv420p", "yuvj420p")
EXACT = 1e-3  # seconds from 0 at which a file may begin
PART = 60.0  # seconds of a longer video that are encoded at once
TALLEST = 720  # pixels of what is encoded
KEPT = 64  # encoded files
UNIT = Fraction(1, 90000)


@dataclass(frozen=True)
class Playing:
    """What the page plays: the file itself, or a part encoded anew; `offset` is the time of the table at the player's
    0."""

    encoded: bool
    offset: float
    kind: str = "video/mp4"
    note: str = ""


def plays(video: Video) -> Playing | None:
    """How a browser plays the file as it is; None where it does not, or where it may show other frames than tubelet
    reads: of a file with a correction or a remark, of another stream, from another 0."""
    if video.reading or video.reason or is_sequence(video.path) or Member.of(video.path) or is_remote(video.path):
        return None
    container, stream = open_video(video.path)
    try:
        kind, codecs = PLAYS.get(container.format.name, ("", ()))
        codec = stream.codec_context.codec.canonical_name
        if codec not in codecs or stream.codec_context.pix_fmt not in FORMATS:
            return None
        begins = float((stream.start_time or 0) * stream.time_base), (container.start_time or 0) / av.time_base
        if len(container.streams.video) > 1 or max(map(abs, begins)) > EXACT:
            return None
        return Playing(False, 0.0, kind)
    finally:
        container.close()


@dataclass
class Playable:
    """The encoded files, in a folder that `close` removes."""

    temporary: tempfile.TemporaryDirectory[str] | None = None
    known: dict[int, Playing | None] = field(default_factory=dict)
    firsts: dict[tuple[int, float], float] = field(default_factory=dict)
    busy: threading.Lock = field(default_factory=threading.Lock)

    def playing(self, video: Video, at: float, encoded: bool = False) -> Playing:
        """How this video is played about a moment; with `encoded` anew although the file might do."""
        if video.row not in self.known:
            self.known[video.row] = within(limits(), lambda: plays(video))
        as_it_is = self.known[video.row]
        if as_it_is is not None and not encoded:
            return as_it_is
        begin, end = part_of(video, at)
        if (video.row, begin) not in self.firsts:
            self.firsts[video.row, begin] = within(limits(), lambda: first_frame(replace(video, start=begin, end=end)))
        whole = begin <= video.start and end >= video.end
        note = "encoded anew for the browser" + ("" if whole else f", from {begin:.4g} s to {end:.4g} s")
        return Playing(True, self.firsts[video.row, begin], note=note)

    def file(self, video: Video, at: float) -> Path:
        """The encoded part about this moment."""
        begin, end = part_of(video, at)
        with self.busy:
            path = self.folder / f"{video.row}-{round(1000 * begin)}.mp4"
            if not path.exists():
                part = path.with_suffix(".part")
                within(limits(), lambda: encode(replace(video, start=begin, end=end), part))
                part.rename(path)
                old = sorted(path.parent.glob("*.mp4"), key=lambda one: one.stat().st_mtime)
                for one in old[:-KEPT]:
                    one.unlink()
        return path

    @property
    def folder(self) -> Path:
        if self.temporary is None:
            self.temporary = tempfile.TemporaryDirectory(prefix="tubelet-inspect-")
        return Path(self.temporary.name)

    def close(self) -> None:
        if self.temporary is not None:
            self.temporary.cleanup()


def part_of(video: Video, at: float) -> tuple[float, float]:
    """From when to when a video is encoded: all of it, or the part in which a moment lies."""
    length = video.end - video.start
    if length <= 1.5 * PART:
        return video.start, video.end if length > 0 else float("inf")
    begin = video.start + PART * int(min(max(at - video.start, 0.0), length - 1e-3) / PART)
    return begin, min(begin + PART, video.end)


def first_frame(video: Video) -> float:
    """When the first frame of a row is shown."""
    with open_reader(video.path, video.start, video.end, reading=video.reading) as reader:
        times = reader.times
    if not times.size:
        raise VideoError(f"no frame of {video.id} can be decoded")
    return float(times[0])


def encode(video: Video, path: Path) -> None:
    """The frames of a row as H.264, the first of them at 0: where a file begins later, browsers differ."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream: Any = None
        last, origin = -1, 0.0
        for frames, times in decoded(video):
            size = even(*frames.shape[1:3])
            if stream is None:
                origin = float(times[0])
                rate = min(max(video.fps, 1.0), 120.0) if video.fps else 25.0
                stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
                stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
                stream.options = {"preset": "ultrafast", "crf": "20", "g": "15"}
                stream.codec_context.time_base = UNIT
                stream.codec_context.max_b_frames = 0
            small = resize(frames, stream.height, stream.width).permute(1, 2, 3, 0).numpy()
            for values, moment in zip(small, times.tolist(), strict=True):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb24")
                last = max(round((moment - origin) / UNIT), last + 1)
                frame.pts, frame.time_base = last, UNIT
                container.mux(stream.encode(frame))
        if stream is None:
            raise VideoError(f"no frame of {video.id} can be decoded")
        container.mux(stream.encode(None))


def decoded(video: Video) -> Iterator[tuple[UInt8[np.ndarray, "t h w 3"], Float64[np.ndarray, "t"]]]:
    for piece in pieces(video, None):
        frames, times = decode_piece(piece)
        if times.size:
            yield frames, times


def even(height: int, width: int) -> tuple[int, int]:
    """The size of what is encoded: not too tall, and both sides even, as 4:2:0 needs them."""
    scale = min(1.0, TALLEST / min(height, width))
    return max(2 * round(scale * height / 2), 2), max(2 * round(scale * width / 2), 2)
