"""All decoding, by time: which frames a file holds, and the frame shown at a moment. Start reading at `Reader`.

Times are seconds of the stream, 0 at its declared start, whatever number the container counts from. Headers are
not trusted: the times come from the packets, and what is claimed but does not decode is an error with its reason.
Frames come out upright, as 8-bit RGB, whatever the depth, the chroma, the alpha or the rotation of the file.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, dropwhile
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import av
import av.error
import av.logging
import numpy as np
from av.codec.context import Flags2
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import Float64, Int64, UInt8

from tubelet.data.limits import Undecodable, check_size, check_time, limits, regular_file, within
from tubelet.errors import VideoError

SAME = 1e-6  # seconds: two times closer than this are one
EARLIER = (0.0, 1.0, 10.0)  # seconds: some containers seek too late; tried in this order before the beginning
SKIPPING = ("h264", "hevc")  # codecs that say which frames no other refers to

Cut = Callable[[np.ndarray], np.ndarray]
T = TypeVar("T")

av.logging.set_level(av.logging.PANIC)  # what FFmpeg has to say arrives as an exception, once


class Reader:
    """One open file. `times` are known from its packets alone; `frames` decodes from the key frame before.

    With `start` and `end` only that part of a long file is read. Frames come in display order: where a file's
    timestamps run backwards, the frames take them in ascending order.
    """

    def __init__(
        self, path: str | Path, start: float = -math.inf, end: float = math.inf, vectors: bool = False
    ) -> None:
        """`vectors`: decoded frames carry the codec's motion vectors, where it tells of them."""
        self.path, self._vectors = Path(path), vectors
        self._container, self._stream = open_video(self.path, vectors)
        try:
            self._read_packets(start, end)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._container.close()

    @property
    def times(self) -> Float64[np.ndarray, "t"]:
        """When each frame is shown, ascending; only those from `start` (included) to `end` (excluded)."""
        inside = (self._times >= self._start - SAME) & (self._times < self._end - SAME)
        return self._times[inside]

    def frames(
        self, times: Sequence[float] | Float64[np.ndarray, "t"], cut: Cut | None = None
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """The frame shown at each time: the last one that starts at or before it (the first one, before that).

        `cut` takes from an upright frame the part to keep, so that of large frames no more is copied than is needed.
        """
        asked = np.asarray(times, dtype=np.float64)
        if not asked.size:
            raise ValueError("no times asked for")
        if not self._times.size:
            raise VideoError(f"{self.path.name} holds no frame there")
        if not self._ordered:
            kept = Keeping(self._places(asked), cut)
            if self._by_time(kept):
                return kept.frames
            self._put_in_order()
        kept = Keeping(self._places(asked), cut)
        self._by_count(kept)
        return kept.frames

    def each(self, look: Callable[[Any], T]) -> tuple[list[T], Float64[np.ndarray, "t"]]:
        """What `look` makes of every decoded frame, in display order, and when each is shown.

        That begins at the key frame before the span and may end after it. `VideoError` where a frame of the span cannot
        be decoded.
        """
        if not self._ordered:
            if (found := self._each_by_time(look)) is not None:
                return found
            self._put_in_order()
        made = [look(frame) for frame in self._decode(0)]
        if len(made) < len(self._times):
            raise self._undecodable(len(made))
        return made, self._times[: len(made)]

    def _each_by_time(self, look: Callable[[Any], T]) -> tuple[list[T], Float64[np.ndarray, "t"]] | None:
        """None where timestamps run backwards."""
        inside = np.flatnonzero((self._times >= self._start - SAME) & (self._times < self._end - SAME))
        if not inside.size:
            return [], np.empty(0)
        made: list[T] = []
        stamps: list[int] = []
        for stamp, frame in self._stamped(key_before(self._packets, int(self._stamps[inside[0]])), None):
            if stamp is None or (stamps and stamp <= stamps[-1]):
                return None
            stamps.append(stamp)
            made.append(look(frame))
        reached = int(np.searchsorted(self._stamps, stamps[-1])) if stamps else -1
        if inside[-1] > reached + 2:  # a place or two without a frame of its own is a packet that shows nothing
            raise self._undecodable(reached + 1)
        return made, self._seconds(np.array(stamps, dtype=np.int64))

    @property
    def codec(self) -> str:
        """Its plain name: h264, mpeg4, vp9."""
        return self._stream.codec_context.codec.canonical_name

    @property
    def extradata(self) -> bytes:
        """What the container keeps for the decoder."""
        return bytes(self._stream.codec_context.extradata or b"")

    @property
    def packets(self) -> Sequence[Any]:
        """The compressed packets of the span, from the key frame before it, in the order of decoding."""
        return self._packets

    def _places(self, asked: Float64[np.ndarray, "t"]) -> Int64[np.ndarray, "t"]:
        return np.maximum(np.searchsorted(self._times, asked + SAME, side="right") - 1, 0)

    def _read_packets(self, start: float, end: float) -> None:
        """Reads the compressed packets of the span, from the key frame before it, and nothing else."""
        stream = self._stream
        self._start, self._end = start, end
        self._origin = stream.start_time or 0
        self._unit = float(stream.time_base)
        self._packets, self._whole = [], False
        seekable = start > 0 and self._container.format.name != "mpeg"  # program streams guess their times after a seek
        for earlier in EARLIER if seekable else ():
            if self._seek(start - earlier):
                self._packets = self._demux(end)
                if any(packet.is_keyframe and shown_by(packet, self._stamp(start)) for packet in self._packets):
                    break
        else:
            if seekable:
                self._reopen()
            self._packets, self._whole = self._demux(end), math.isinf(end)
        stamps = [packet.pts for packet in self._packets if not packet.is_discard]
        self._ordered = None in stamps or len(set(stamps)) < len(stamps)  # then only decoding tells
        if self._ordered:
            self._put_in_order()
        else:
            self._stamps = np.array(sorted(stamps), dtype=np.int64)
            self._times = self._seconds(self._stamps)

    def _demux(self, end: float) -> list[Any]:
        packets = []
        # an AVI's packets carry the time of their own place, though a frame may need some that follow it
        limit = self._stamp(end) + (16 if self._container.format.name == "avi" else 0)
        try:
            for packet in self._container.demux(self._stream):
                check_time()
                if packet.size:
                    packets.append(packet)
                if packet.dts is not None and packet.dts > limit:
                    break
        except av.error.FFmpegError:
            pass  # a file cut short: its packets up to here are good, and frames() says so where they are not
        return packets

    def _seek(self, moment: float) -> bool:
        try:
            self._container.seek(int(self._stamp(moment)), stream=self._stream, backward=True)
        except av.error.FFmpegError:
            return False
        return True

    def _stamp(self, moment: float) -> float:
        return moment / self._unit + self._origin

    def _reopen(self) -> None:
        self._container.close()
        self._container, self._stream = open_video(self.path, self._vectors)

    def _seconds(self, stamps: Int64[np.ndarray, "t"]) -> Float64[np.ndarray, "t"]:
        return (stamps - self._origin) * self._unit

    def _by_time(self, kept: "Keeping") -> bool:
        """Keeps the frames of these timestamps; False where they run backwards, so that frames must be counted."""
        wanted = np.unique(kept.places)
        stamps = self._stamps[wanted]
        before, last = None, -1
        place = 0
        for stamp, frame in self._stamped(key_before(self._packets, int(stamps[0])), set(stamps.tolist())):
            if stamp is None or (before is not None and stamp <= last):
                return False
            while place < len(stamps) and stamps[place] <= stamp:
                kept.put(int(wanted[place]), frame if stamps[place] == stamp or before is None else before)
                place += 1
            if place == len(stamps):
                return True
            before, last = frame, stamp
        # The decoder has ended. A place or two without a frame of its own is a packet that shows nothing.
        reached = int(np.searchsorted(self._stamps, last))
        for index in wanted[place:].tolist():
            if before is None or index > reached + 2:
                raise self._undecodable(index)
            kept.put(index, before)
        return True

    def _stamped(self, first: int, needed: set[int] | None) -> Iterator[tuple[int | None, Any]]:
        """Frames from packet `first` on with their timestamps.

        AVI has none of its own, only the order of its packets, which is not that of the frames where some of them look
        ahead. So there a frame takes the time of its place, counted from the key frame.
        """
        if self._container.format.name != "avi":
            exact = self._stream.codec_context.codec.canonical_name in SKIPPING
            yield from ((frame.pts, frame) for frame in self._decode(first, needed if exact else None))
            return
        place = int(np.searchsorted(self._stamps, self._packets[first].pts))
        for frame in dropwhile(lambda frame: not frame.key_frame, self._decode(first)):
            yield (int(self._stamps[place]) if place < len(self._stamps) else None), frame
            place += 1

    def _put_in_order(self) -> None:
        """Decodes everything once to learn the times, in the order in which frames are shown."""
        if not self._whole:
            self._reopen()
            self._packets, self._whole = self._demux(math.inf), True
        stamps = [frame.pts for frame in self._decode(0)]
        if None in stamps:
            rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
            self._times = np.arange(len(stamps)) / rate
        else:
            self._times = self._seconds(np.array(sorted(stamps), dtype=np.int64))
        self._ordered = True
        if not stamps:
            raise self._undecodable(0)

    def _by_count(self, kept: "Keeping") -> None:
        """Keeps the frames at these places, counted from the first of the file."""
        places = set(kept.places.tolist())
        for index, frame in enumerate(self._decode(0)):
            if index in places:
                kept.put(index, frame)
                places.remove(index)
        if places:
            raise self._undecodable(min(places))

    def _decode(self, first: int, needed: set[int] | None = None) -> "Decoding":
        self._decoding = Decoding(self._stream.codec_context, self._packets[first:], needed)
        return self._decoding

    def _undecodable(self, place: int) -> VideoError:
        why = f": {self._decoding.error}" if self._decoding.error else ""
        when = f" at {self._times[place]:.3g} s" if place < len(self._times) else ""
        return VideoError(f"{self.path.name} cannot be decoded{when}{why}")


def timestamps(path: str | Path) -> Float64[np.ndarray, "t"]:
    """When each frame of the file is shown, in seconds, ascending. Nothing is decoded unless it must be."""
    with Reader(path) as reader:
        return reader.times


def read_frames(path: str | Path, times: Sequence[float] | Float64[np.ndarray, "t"]) -> UInt8[np.ndarray, "t h w 3"]:
    """The frame shown at each time, upright."""
    asked = np.asarray(times, dtype=np.float64)
    with Reader(path, float(asked.min()), float(asked.max()) + SAME) as reader:
        return reader.frames(asked)


def glance(path: str | Path, moment: float) -> UInt8[np.ndarray, "h w 3"]:
    """One frame for a picture, within the limits of this command."""
    return within(limits(), lambda: read_frames(path, [moment]))[0]


def read_span(
    path: str | Path, start: float = 0.0, end: float = math.inf
) -> tuple[UInt8[np.ndarray, "t h w 3"], Float64[np.ndarray, "t"]]:
    """Every frame that starts from `start` (included) to `end` (excluded), in order, with its time."""
    with Reader(path, start, end) as reader:
        times = reader.times
        if not times.size:
            raise VideoError(f"{Path(path).name} has no frame from {start:g} s to {end:g} s")
        frames = reader.frames(times)
        return frames, times


def write_video(
    path: str | Path,
    frames: UInt8[np.ndarray, "t h w 3"],
    fps: float | int,
    *,
    times: Sequence[float] | None = None,
    crf: int = 18,
    gop: int = 12,
    rotation: int = 0,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> None:
    """Writes H.264 (or another codec of FFmpeg): at a fixed rate, or each frame at its own time.

    `rotation` only declares that a player must turn the frames by so many degrees counter-clockwise.
    """
    path = Path(path)
    height, width = frames.shape[1:3]
    unit = Fraction(1, 90000)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    with av.open(str(part), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = width, height
        if codec == "libx264":
            stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
            stream.options = {"crf": str(crf), "g": str(gop), "threads": "1", **(options or {})}
        elif options:
            stream.options = dict(options)
        if times is not None:
            stream.codec_context.time_base = unit
        if rotation:
            stream.set_display_rotation(rotation)
        for index, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[index] / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    os.replace(part, path)


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
                self.error = self.error or plain(error)
                if seen:
                    return
                continue
            for frame in frames:
                seen = True
                yield frame


class Keeping:
    """Decoded frames on their way into one array: upright, 8-bit RGB, all of the size of the first."""

    frames: UInt8[np.ndarray, "t h w 3"]

    def __init__(self, places: Int64[np.ndarray, "t"], cut: Cut | None) -> None:
        self.places, self.cut = places, cut
        self._turn: Turn | None = None
        self._size = (0, 0)
        self._rgb = VideoReformatter()

    def put(self, index: int, frame: Any) -> None:
        """This is the frame at place `index`."""
        if first := self._turn is None:
            self._turn, self._size = turn_of(frame), (frame.width, frame.height)
            check_size(3 * frame.width * frame.height)
        transpose, mirror, upside = self._turn or (False, False, False)
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
            check_size(3 * frame.width * frame.height + part.nbytes * len(self.places))
            self.frames = np.empty((len(self.places), *part.shape), np.uint8)
        self.frames[self.places == index] = part


Turn = tuple[bool, bool, bool]


def turn_of(frame: Any) -> Turn:
    """(transpose, mirror left-right, mirror top-bottom): how the display matrix brings the frame upright."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = (np.frombuffer(bytes(matrix), dtype="<i4")[:5] / 65536).tolist()
    straight, crossed = min(abs(a), abs(d)), min(abs(b), abs(c))
    if max(straight, crossed) < 0.5:  # not a matrix that turns anything by quarters
        return False, False, False
    return (False, a < 0, d < 0) if straight >= crossed else (True, c < 0, b < 0)


def open_video(path: Path, vectors: bool = False) -> tuple[Any, Any]:
    """The container and its best video stream, ready to decode on one thread, with motion vectors or without."""
    regular_file(path)
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise Undecodable("unreadable", f"cannot be opened: {plain(error)}") from None
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


def key_before(packets: Sequence[Any], stamp: int) -> int:
    """Where decoding must begin for the frame of this timestamp: the last key packet shown at or before it."""
    for index in range(len(packets) - 1, -1, -1):
        packet = packets[index]
        if packet.is_keyframe and shown_by(packet, stamp):
            return index
    return 0


def shown_by(packet: Any, stamp: float | int) -> bool:
    return packet.pts is not None and packet.pts <= stamp + 1e-3


def frame_duration(times: Float64[np.ndarray, "t"], rate: float) -> float:
    """How long the last frame is shown: as long as frames usually are."""
    steps = np.diff(times)
    steps = steps[steps > SAME]
    return float(np.median(steps)) if steps.size else 1 / (rate or 25.0)


def plain(error: BaseException) -> str:
    """FFmpeg's own words, without the numbers and the path."""
    return str(getattr(error, "strerror", None) or error).strip()
