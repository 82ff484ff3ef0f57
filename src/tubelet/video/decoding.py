"""From compressed packets to upright frames of 8-bit RGB, with FFmpeg. Start reading at `open_video`."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import av.error
import av.filter
import av.logging
import numpy as np
from av.codec.context import Flags2
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import Int64, UInt8

from tubelet.errors import RemoteError
from tubelet.remote.file import RemoteFile
from tubelet.video.limits import Undecodable, check_size, check_time, regular_file
from tubelet.video.members import address, open_remote
from tubelet.video.reading import square_size

Cut = Callable[[np.ndarray], np.ndarray]

av.logging.set_level(av.logging.PANIC)  # what FFmpeg has to say arrives as an exception, once


BUFFER = 1 << 16  # bytes of a remote file that FFmpeg asks for at a time


def open_container(path: Path, remote: RemoteFile | None = None) -> Any:
    """`remote`: the open file of a path that is none of this machine; None: it is opened here."""
    try:
        file = remote or open_remote(path)
        if file is None:
            regular_file(path)
            return av.open(address(path), metadata_errors="ignore")
        file.seek(0)
        return av.open(file, metadata_errors="ignore", buffer_size=BUFFER)
    except RemoteError as error:
        if error.status != "missing":
            raise
        raise Undecodable(error.status, "no such file") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise Undecodable("unreadable", f"cannot be opened: {error_text(error)}") from None


def open_video(path: Path, vectors: bool = False, remote: RemoteFile | None = None) -> tuple[Any, Any]:
    """The container and its best video stream, ready to decode on one thread, with motion vectors or without."""
    container = open_container(path, remote)
    try:
        stream = best_stream(container)
        if stream is None:
            raise Undecodable("no video", "the file holds no video stream")
        if stream.codec_context is None:
            raise Undecodable("unreadable", "no decoder for its video codec")
        stream.codec_context.thread_count = 1
        if vectors:
            stream.codec_context.flags2 |= Flags2.export_mvs
    except BaseException:
        container.close()
        raise
    return container, stream


def best_stream(container: Any) -> Any:
    """FFmpeg's choice among the video streams, unless that is a cover picture; then the largest that is none."""
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    return best if best in moving else max(moving, key=lambda stream: stream.width * stream.height, default=None)


def pixel_aspect(stream: Any) -> Fraction:
    """The width of a pixel over its height, as the file says; 1 where it does not, or cannot mean it."""
    aspect = stream.sample_aspect_ratio
    return Fraction(aspect) if aspect and Fraction(1, 10) <= aspect <= 10 else Fraction(1)


class Deinterlaced:
    """Frames of which those that are interlaced are made whole from their neighbours in time: as many, in order."""

    def __init__(self, stamped: Iterable[tuple[Any, Any]]) -> None:
        self.stamped = stamped

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """(what came with it, frame)."""
        waiting: deque[tuple[Any, Any]] = deque()
        graph = None
        for stamp, frame in self.stamped:
            if graph is None:
                graph = bwdif(frame)
            waiting.append((stamp, frame))
            graph.push(frame)
            yield from drained(graph, waiting)
        if graph is not None:
            graph.push(None)
            yield from drained(graph, waiting)


def bwdif(frame: Any) -> Any:
    graph = av.filter.Graph()
    unit = frame.time_base or Fraction(1, 1000)
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=unit)
    filters = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"), graph.add("buffersink")
    source.link_to(filters[0])
    filters[0].link_to(filters[1])
    graph.configure()
    return graph


def drained(graph: Any, waiting: "deque[tuple[Any, Any]]") -> Iterator[tuple[Any, Any]]:
    while waiting:
        try:
            whole = graph.pull()
        except (BlockingIOError, EOFError):
            return
        yield waiting.popleft()[0], whole


class Decoding:
    """Frames in display order. They end at the first error after a good frame; `error` then says what it was.

    With `needed` timestamps, other frames are left undecoded where no frame refers to them.
    """

    def __init__(self, context: Any, packets: Iterable[Any], needed: set[int] | None = None) -> None:
        self.context, self.packets, self.needed, self.error = context, packets, needed, ""

    def __iter__(self) -> Iterator[Any]:
        if self.context.is_open:
            self.context.flush_buffers()
        seen = False
        for packet in chain(self.packets, [None]):
            check_time()
            try:
                if self.needed is not None and packet is not None:
                    self.context.skip_frame = "DEFAULT" if packet.pts in self.needed else "NONREF"
                frames = self.context.decode(packet)
            except (av.error.FFmpegError, EOFError) as error:
                self.error = self.error or error_text(error)
                if seen:
                    return
                continue
            for frame in frames:
                seen = True
                yield frame


class Keeping:
    """Decoded frames on their way into one array: upright, 8-bit RGB, all of the size of the first."""

    frames: UInt8[np.ndarray, "t h w 3"]

    def __init__(
        self,
        positions: Int64[np.ndarray, "t"],
        cut: Cut | None,
        aspect: Fraction = Fraction(1),
        turn: "Turn | None" = None,
    ) -> None:
        """`aspect`: the width of a pixel over its height, which is stretched away. `turn`: None as the frames say."""
        self.positions, self.cut, self.aspect = positions, cut, aspect
        self._turn = turn
        self._size = (0, 0)
        self._rgb = VideoReformatter()

    def put(self, index: int, frame: Any) -> None:
        """This is the frame at place `index`."""
        if first := self._size == (0, 0):
            self._turn = self._turn or turn_of(frame)
            self._size = square_size(frame.width, frame.height, self.aspect)
            check_size(3 * self._size[0] * self._size[1])
        transpose, mirror, upside = self._turn or turn_of(frame)
        # one thread: a context with threads of its own costs more than it gains and does not survive a fork
        # bicubic is how FFmpeg's command spreads colour that several pixels share, where they have more than 8 bits
        upright = self._rgb.reformat(
            frame, *self._size, "rgb24", interpolation=Interpolation.BICUBIC, threads=1
        ).to_ndarray()
        if transpose:
            upright = upright.transpose(1, 0, 2)
        if mirror:
            upright = upright[:, ::-1]
        if upside:
            upright = upright[::-1]
        part = upright if self.cut is None else self.cut(upright)
        if first:
            check_size(upright.nbytes + part.nbytes * len(self.positions))
            self.frames = np.empty((len(self.positions), *part.shape), np.uint8)
        self.frames[self.positions == index] = part


Turn = tuple[bool, bool, bool]
QUARTERS: tuple[Turn, ...] = (  # counter-clockwise
    (False, False, False),
    (True, False, True),
    (False, True, True),
    (True, True, False),
)


def turn_of(frame: Any) -> Turn:
    """(transpose, mirror left-right, mirror top-bottom): how the display matrix brings the frame upright."""
    if carries_exif(frame):
        return QUARTERS[round(frame.rotation / 90) % 4]
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = (np.frombuffer(bytes(matrix), dtype="<i4")[:5] / 65536).tolist()
    straight, crossed = min(abs(a), abs(d)), min(abs(b), abs(c))
    if max(straight, crossed) < 0.5:  # not a matrix that turns anything by quarters
        return False, False, False
    return (False, a < 0, d < 0) if straight >= crossed else (True, c < 0, b < 0)


def carries_exif(frame: Any) -> bool:
    """PyAV does not know that kind of data, and then tells of no other either."""
    try:
        return frame.side_data is None
    except ValueError:
        return True


def error_text(error: BaseException) -> str:
    """FFmpeg's own words, without the numbers and the path."""
    return str(getattr(error, "strerror", None) or error).strip()
