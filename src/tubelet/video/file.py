"""One open video file: which frames it holds, and the frame shown at a moment. Start reading at `Reader`.

Times are seconds of the stream, 0 at its declared start, whatever number the container counts from. Headers are
not trusted: the times come from the packets, and what is claimed but does not decode is an error with its reason.
Frames come out upright, as 8-bit RGB, whatever the depth, the chroma, the alpha or the rotation of the file.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, dropwhile
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import av.error
import numpy as np
from av.video.frame import PictureType
from jaxtyping import Float64, Int64, UInt8

from tubelet.errors import VideoError
from tubelet.remote.file import RemoteFile
from tubelet.video.decoding import BUFFER, Cut, Decoding, Deinterlaced, Keeping, open_video, pixel_aspect
from tubelet.video.limits import check_time
from tubelet.video.members import open_remote
from tubelet.video.order import in_order
from tubelet.video.packets import Packets
from tubelet.video.reading import Reading

SAME = 1e-6  # seconds: two times closer than this are one
EARLIER = (0.0, 1.0, 10.0)  # seconds: some containers seek too late; tried in this order before the beginning
SKIPPING = ("h264", "hevc")  # codecs that say which frames no other refers to, and show none before they have recovered
PREDICTED = (PictureType.P, PictureType.B, PictureType.S)

AS_DECODED = Reading()
T = TypeVar("T")


class Reader:
    """One open file. `times` are known from its packets alone; `frames` decodes from the key frame before.

    With `start` and `end` only that part of a long file is read. Frames come in display order: where a file's
    timestamps run backwards, the frames take them in ascending order.
    """

    def __init__(
        self,
        path: str | Path,
        start: float = -math.inf,
        end: float = math.inf,
        vectors: bool = False,
        reading: Reading = AS_DECODED,
        remote: RemoteFile | None = None,
    ) -> None:
        """`vectors`: decoded frames carry the codec's motion vectors, where it tells of them. `remote`: the file of a
        remote path, already open."""
        self.path, self._vectors, self._reading = Path(path), vectors, reading
        self._remote = remote or open_remote(self.path)
        self._container, self._stream = open_video(self.path, vectors, self._remote)
        self._aspect = pixel_aspect(self._stream) if reading.square else Fraction(1)
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
            kept = Keeping(self._places(asked), cut, self._aspect)
            if self._by_time(kept):
                return kept.frames
            self._put_in_order()
        kept = Keeping(self._places(asked), cut, self._aspect)
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
        for stamp, frame in self._from(int(self._stamps[inside[0]]), None):
            if stamp is None or (stamps and stamp <= stamps[-1]):
                return None
            stamps.append(stamp)
            made.append(look(frame))
        reached = int(np.searchsorted(self._stamps, stamps[-1])) if stamps else -1
        if inside[-1] > reached + 2:  # a timestamp or two without a frame of its own is a packet that shows nothing
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
        self._from_beginning = self._whole = False
        if self._reading.sequential:
            start, end = -math.inf, math.inf  # all packets, to learn all times
        seekable = start > 0 and self._container.format.name != "mpeg"  # program streams guess their times after a seek
        fields = int(self._reading.deinterlace)  # what makes them whole takes the frame before as well
        for earlier in EARLIER[fields:] if seekable else ():
            if self._seek(start - earlier):
                self._look_at(self._demux(end, start - earlier))
                if next(self._starts(self._stamp(start) - fields), None) is not None:
                    break
        else:
            if seekable:
                self._reopen()
            self._from_beginning, self._whole = True, math.isinf(end)
            self._look_at(self._demux(end))
        if self._ordered or self._reading.sequential:
            self._put_in_order()
        else:
            self._times = self._seconds(self._stamps)

    def _look_at(self, packets: list[Any]) -> None:
        """Which packets show a frame, and when."""
        self._packets, self._inside = packets, Packets(packets, self.codec, self.extradata)
        shown = self._inside.shown
        stamps = [p.pts for p, is_shown in zip(packets, shown, strict=True) if is_shown and not p.is_discard]
        self._ordered = None in stamps or len(set(stamps)) < len(stamps)  # then only decoding tells
        self._stamps = np.array([] if self._ordered else sorted(stamps), dtype=np.int64)
        self._shown_before = np.concatenate([[0], np.cumsum(shown)])

    def _starts(self, stamp: float | int) -> Iterator[int]:
        """Packets with which the decoding of the frame of this timestamp may begin, the nearest first."""
        for position in range(len(self._packets) - 1, -1, -1):
            if shown_by(self._packets[position], stamp) and self._inside.may_begin(position):
                yield position

    def _demux(self, end: float, start: float = -math.inf) -> list[Any]:
        packets = []
        # an AVI's packets carry the time of their own place, though a frame may need some that follow it
        limit = self._stamp(end) + (16 if self._container.format.name == "avi" else 0)
        if self._remote is not None:
            expect_packets(self._remote, self._container, self._stream, self._stamp(start), limit)
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
        self._container, self._stream = open_video(self.path, self._vectors, self._remote)

    def _seconds(self, stamps: Int64[np.ndarray, "t"]) -> Float64[np.ndarray, "t"]:
        return (stamps - self._origin) * self._unit

    def _by_time(self, kept: "Keeping") -> bool:
        """Keeps the frames of these timestamps; False where they run backwards, so that frames must be counted."""
        wanted = np.unique(kept.positions)
        stamps = self._stamps[wanted]
        before, last = None, -1
        position = 0
        if self._reading.deinterlace:  # that takes the frame before and the frame after
            frames = iter(Deinterlaced(self._from(int(self._stamps[max(wanted[0] - 1, 0)]), None)))
        else:
            frames = self._from(int(stamps[0]), set(stamps.tolist()))
        for stamp, frame in frames:
            if stamp is None or (before is not None and stamp <= last):
                return False
            while position < len(stamps) and stamps[position] <= stamp:
                kept.put(int(wanted[position]), frame if stamps[position] == stamp or before is None else before)
                position += 1
            if position == len(stamps):
                return True
            before, last = frame, stamp
        # The decoder has ended. A timestamp or two without a frame of its own is a packet that shows nothing.
        reached = int(np.searchsorted(self._stamps, last))
        for index in wanted[position:].tolist():
            if before is None or index > reached + 2:
                raise self._undecodable(index)
            kept.put(index, before)
        return True

    def _from(self, stamp: int, needed: set[int] | None) -> Iterator[tuple[int | None, Any]]:
        """Frames with their timestamps, from the nearest start that gives the frame of this timestamp or one before it.

        The flags of packets do not decide that: where decoding begins too late, or with a frame that refers to others,
        it begins one key packet earlier, and last with the file.
        """
        tried = set()
        while True:
            for first in self._starts(stamp):
                if (which := self._packets[first].pts) not in tried:
                    tried.add(which)
                    frames = self._stamped(first, needed)
                    head = next(frames, None)
                    if head is not None and self._is_good_start(*head, stamp):
                        return chain([head], frames)
            if self._from_beginning:
                return self._stamped(0, needed)
            self._reopen()
            self._from_beginning = True
            self._look_at(self._demux(self._end))
            self._times = self._seconds(self._stamps)

    def _is_good_start(self, shown: int | None, frame: Any, stamp: int) -> bool:
        if shown is None:
            return True  # timestamps that cannot be used: frames are counted
        whole = frame.key_frame or frame.pict_type not in PREDICTED or self.codec in SKIPPING
        return shown <= stamp and whole

    def _stamped(self, first: int, needed: set[int] | None) -> Iterator[tuple[int | None, Any]]:
        """Frames from packet `first` on with their timestamps; none that is shown before the key frame it begins with.

        AVI has no timestamps, only the order of its packets, which is not that of the frames where some of them look
        ahead. So there a frame takes the time of its place, counted from the key frame.
        """
        if self._container.format.name == "avi":
            yield from self._stamped_by_place(first)
            return
        frames = self._decode(first, needed if self.codec in SKIPPING else None)
        begin = None if first == 0 and self._from_beginning else self._packets[first].pts
        for frame in frames:
            if begin is None or frame.pts is None or frame.pts >= begin:
                yield frame.pts, frame

    def _stamped_by_place(self, first: int) -> Iterator[tuple[int | None, Any]]:
        """Every frame says from which packet it comes. Those that look ahead to the first key frame come before it."""
        key = self._packets[first].pts
        if first == 0 and self._from_beginning:
            frames, position = iter(self._decode(0)), 0
        elif (ahead := self._inside.leading(first) if self._stream.codec_context.has_b_frames else 0) is not None:
            frames, position = dropwhile(lambda frame: frame.pts != key, self._decode(first)), ahead
        else:
            begin = next(
                (position for position in self._starts(key) if position < first), 0 if self._from_beginning else None
            )
            if begin is None:
                return
            later = {packet.pts for packet in self._packets[first + 1 :]}
            decoded = iter(self._decode(begin))
            ahead = 0
            for frame in decoded:
                if frame.pts == key:
                    break
                ahead += frame.pts in later
            else:
                return
            frames, position = chain([frame], decoded), ahead
        position += int(self._shown_before[first])
        for frame in frames:
            yield (int(self._stamps[position]) if position < len(self._stamps) else None), frame
            position += 1

    def _put_in_order(self) -> None:
        """Decodes everything once to learn the times, in the order in which frames are shown."""
        if not self._whole:
            self._reopen()
            self._packets, self._whole, self._from_beginning = self._demux(math.inf), True, True
        stamps = [frame.pts for frame in self._decode(0)]
        if None in stamps:
            rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
            self._times = np.arange(len(stamps)) / rate
        else:
            self._times = self._seconds(in_order(np.array(stamps, dtype=np.int64), self._unit))
        self._ordered = True
        if not stamps:
            raise self._undecodable(0)
        self._reopen()  # a decoder that has seen the file does not begin with its middle as a new one does

    def _by_count(self, kept: "Keeping") -> None:
        """Keeps the frames at these places, counted from the first of the file."""
        positions = set(kept.positions.tolist())
        frames: Iterable[tuple[int, Any]] = enumerate(self._decode(0))
        for index, frame in Deinterlaced(frames) if self._reading.deinterlace else frames:
            if index in positions:
                kept.put(index, frame)
                positions.remove(index)
        if positions:
            raise self._undecodable(min(positions))

    def _decode(self, first: int, needed: set[int] | None = None) -> "Decoding":
        self._decoding = Decoding(self._stream.codec_context, self._packets[first:], needed)
        return self._decoding

    def _undecodable(self, position: int) -> VideoError:
        why = f": {self._decoding.error}" if self._decoding.error else ""
        when = f" at {self._times[position]:.3g} s" if position < len(self._times) else ""
        return VideoError(f"{self.path.name} cannot be decoded{when}{why}")


def expect_packets(file: RemoteFile, container: Any, stream: Any, first: float, last: float) -> None:
    """Asks for all packets of a span in one request, where the index of the file says where they lie."""
    for other in container.streams:
        if other is not stream and other is not None:
            other.discard = "all"
    index = stream.index_entries
    if not len(index):
        return
    spots = [(entry.timestamp, entry.pos, entry.size, entry.is_keyframe) for entry in index]
    first -= max((stream.start_time or 0) - spots[0][0], 0)  # frames are decoded so much before they are shown
    begin = max((number for number, spot in enumerate(spots) if spot[3] and spot[0] <= first), default=0)
    end = next((number for number in range(begin, len(spots)) if spots[number][0] > last), len(spots) - 1)
    wanted = spots[begin : end + 1]  # the packet that is behind the span is read too, and some bytes more
    file.expect(min(spot[1] for spot in wanted), max(spot[1] + spot[2] for spot in wanted) + BUFFER)


def shown_by(packet: Any, stamp: float | int) -> bool:
    return packet.pts is not None and packet.pts <= stamp + 1e-3
