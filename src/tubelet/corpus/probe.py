"""What a video file really holds, found out by decoding: headers are not trusted. Start reading at `probe`."""

import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from jaxtyping import Float64

from tubelet.errors import VideoError
from tubelet.video.decoding import Decoding, open_video, pixel_aspect, turn_of
from tubelet.video.file import AS_DECODED
from tubelet.video.limits import Undecodable, regular_file
from tubelet.video.members import open_bytes
from tubelet.video.order import in_order
from tubelet.video.packets import Showing
from tubelet.video.reader import SAME, Reader, frame_duration, open_reader, read_frames
from tubelet.video.reading import FRAME_RATE, Reading, square_size
from tubelet.video.sequences import Stills, is_sequence

TRIED = 3  # key frames at which decoding is tried
BESIDE = (0, 2, -1)  # where, counted from the key frame
LONG_STRETCH = 300  # frames before a key frame of a long file from which it is decoded as well
CHEAP = 150_000_000  # pixels that a probe decodes without thinking: 490 frames of 640x480
GAPPED = 10  # times as long as its frames are together: a remark
DAMAGED = "a part of it is damaged"
ENCRYPTED = ("encrypted", "the video track is encrypted")


@dataclass(frozen=True)
class Probe:
    """What a file really holds. Sizes are upright; `note` is empty or says what the file promises and does not hold."""

    times: Float64[np.ndarray, "t"]
    start: float
    end: float
    fps: float
    frames: int
    width: int
    height: int
    codec: str
    note: str
    decoded: int  # frames decoded to find this out
    seconds: float  # of processor time for that
    reading: str | None = None  # how its frames are read (tubelet.video.reading)
    pixel_aspect: str | None = None  # width:height of a pixel that is not square
    field_order: str | None = None  # of an interlaced file

    @property
    def duration(self) -> float:
        return self.end - self.start


def probe(path: str | Path, cheap: int = CHEAP, reading: Reading = AS_DECODED) -> Probe:
    """What the file really holds, read so. `Undecodable` says why where that is nothing.

    A file of at most `cheap` pixels is decoded to its end, so its count is exact. Of a longer one the beginning and the
    end are decoded, and all of it only where the end does not decode.
    """
    path = Path(path)
    if is_sequence(path):
        return probe_sequence(path, cheap, reading)
    if not regular_file(path).st_size:
        raise Undecodable("empty", "the file is empty")
    began = time.process_time()
    container, stream = open_video(path)
    with container:
        codec = stream.codec_context.codec.canonical_name
        origin, unit = stream.start_time or 0, float(stream.time_base)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        size = stream.codec_context.width * stream.codec_context.height
        claimed, is_avi = stream.frames, container.format.name == "avi"
        aspect = pixel_aspect(stream)
        packets = look_at_packets(container, stream)
    stamps, encrypted = packets.stamps, packets.encrypted
    if not stamps:
        if encrypted or names_encrypted_track(path):
            raise Undecodable(*ENCRYPTED)
        promise = f", though its header promises {claimed} frames" if claimed else ""
        raise Undecodable("empty", f"the video stream holds no frame{promise}")
    regular = packets.in_order and None not in stamps and len(set(stamps)) == len(stamps)
    note, doubt = "", packets.doubt
    promised = len(stamps)
    whole = not regular or size * promised <= cheap
    times = np.empty(0) if not regular else (np.array(sorted(stamps), dtype=np.int64) - origin) * unit  # type: ignore[type-var]
    read = None if whole else both_ends(path, times)
    if read is not None:
        times = times[times >= ((read.stamps[0] or 0) - origin) * unit - SAME]
        frames_decoded = len(read.stamps) + 2
    else:
        read = decode_all(path)
        frames_decoded = len(read.stamps)
        if not read.stamps:
            if encrypted or names_encrypted_track(path):
                raise Undecodable(*ENCRYPTED)
            promise = f" of {promised} promised" if promised > 1 else ""
            raise Undecodable("unreadable", f"no frame{promise} can be decoded" + (read.error and f": {read.error}"))
        known = [stamp for stamp in read.stamps if stamp is not None]
        if len(known) < len(read.stamps):
            times = np.arange(len(read.stamps)) / (rate or 25.0)
        else:
            # an AVI's frames may name other packets than those in whose places they are shown
            decoded = (in_order(np.array(known, dtype=np.int64), unit) - origin) * unit
            times = times if regular and len(times) == len(decoded) else decoded
        backwards = sum(late <= early for early, late in pairwise(known))
        if read.error and len(times) < promised:
            note = f"ends after {len(times)} of {promised} frames: {read.error}"
        elif backwards:
            note = f"timestamps run backwards at {backwards} frames; put in order"
            if not (regular and is_avi):  # there frames name other packets, and those are in order
                doubt = doubt or "a frame is not shown at the time of its packet"
    if not doubt and read.corrupt:
        doubt = DAMAGED
    if not doubt and not trustworthy(
        path, read, times, (np.array(sorted(packets.keys), dtype=np.int64) - origin) * unit
    ):
        doubt = "frames differ where decoding begins at a key frame"
    if doubt:
        reading = replace(reading, sequential=True)
        note = "; ".join(filter(None, [note, f"{doubt}; decoded from its beginning, which is slow"]))
    note = "; ".join(filter(None, [note, gap_in(times)]))
    last = frame_duration(times, rate)
    height, width = read.shape
    if reading.square:
        width, height = square_size(width, height, 1 / aspect if read.turned else aspect)
    # what is done is said of a file only where it changes something
    reading = replace(
        reading,
        deinterlace=reading.deinterlace and bool(read.interlaced),
        square=reading.square and aspect != 1,
        rate=None,
    )
    return Probe(
        times=times,
        start=float(times[0]),
        end=float(times[-1]) + last,
        fps=(len(times) - 1) / float(times[-1] - times[0]) if times[-1] > times[0] else 1 / last,
        frames=len(times),
        width=width,
        height=height,
        codec=codec,
        note=note,
        decoded=frames_decoded,
        seconds=time.process_time() - began,
        reading=reading.words,
        pixel_aspect=None if aspect == 1 else f"{aspect.numerator}:{aspect.denominator}",
        field_order=read.interlaced or None,
    )


def gap_in(times: Float64[np.ndarray, "t"]) -> str:
    """Where frames are missing for so long that one wrong timestamp may have made the video far longer than it is."""
    steps = np.diff(times)
    if len(steps) < 2 or float(times[-1] - times[0]) < GAPPED * len(times) * float(np.median(steps)):
        return ""
    at = int(steps.argmax())
    return (
        f"no frame from {times[at]:.7g} s to {times[at + 1]:.7g} s, though frames are {np.median(steps):.3g} s apart: "
        "a timestamp may be wrong"
    )


@dataclass
class PacketsSeen:
    """What the packets of a stream say, read one after another."""

    stamps: list[int | None] = field(default_factory=list)  # of those that show a frame
    keys: list[int] = field(default_factory=list)  # those of them that are flagged as key frames
    encrypted: bool = False
    in_order: bool = True  # the decoder's clock never runs backwards
    again: bool = False  # a key frame in the middle is decoded and not shown: an edit list shows parts of it
    corrupt: bool = False

    @property
    def doubt(self) -> str:
        """Why no start but the first can be trusted."""
        if not self.in_order:
            return "several recordings or edits follow each other in it"
        if self.again:
            return "an edit list shows parts of it"
        return DAMAGED if self.corrupt else ""


def look_at_packets(container: Any, stream: Any) -> PacketsSeen:
    """None is kept, so a long file takes no more memory than a short one."""
    seen, last, hidden = PacketsSeen(), None, False
    context = stream.codec_context
    showing = Showing(context.codec.canonical_name, bytes(context.extradata or b""))
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            seen.corrupt = seen.corrupt or packet.is_corrupt
            seen.in_order = seen.in_order and (last is None or packet.dts is None or packet.dts >= last)
            last = packet.dts if packet.dts is not None else last
            is_shown = showing.of(packet)
            if packet.is_discard:
                hidden = hidden or (packet.is_keyframe and bool(seen.stamps))
            elif is_shown:
                seen.again = seen.again or hidden
                seen.stamps.append(packet.pts)
                if packet.is_keyframe and packet.pts is not None:
                    seen.keys.append(packet.pts)
                seen.encrypted = seen.encrypted or packet.has_sidedata("encryption_info")
    except av.error.FFmpegError:
        pass
    return seen


def moments(path: Path, start: float, end: float, reading: str | None = None) -> tuple[Float64[np.ndarray, "t"], float]:
    """When each frame from `start` to `end` is shown, and how many a second the file promises.

    The packets are read one by one and none is kept, so a long file takes no more memory than a short one.
    """
    stamps: Sequence[int | None] = [None]
    rate = 0.0
    if not is_sequence(path) and not Reading.parse(reading).sequential:
        container, stream = open_video(path)
        with container:
            stamps = look_at_packets(container, stream).stamps
            origin, unit = stream.start_time or 0, float(stream.time_base)
            rate = float(stream.average_rate or stream.guessed_rate or 0)
    if None in stamps or len(set(stamps)) < len(stamps):  # then only decoding tells
        with open_reader(path, start, end, reading=reading) as reader:
            times = reader.times
    else:
        times = (np.array(sorted(stamp for stamp in stamps if stamp is not None), dtype=np.int64) - origin) * unit
    return times[(times >= start - SAME) & (times < end - SAME)], rate


def names_encrypted_track(path: Path) -> bool:
    """Whether an MP4 header declares an encrypted video track (`encv`); some such files hold no packet at all."""
    with open_bytes(path) as file:
        head = file.read(1 << 20)
        file.seek(max(0, regular_file(path).st_size - (1 << 20)))
        return b"encv" in head or b"encv" in file.read()


@dataclass(frozen=True)
class DecodedFrames:
    stamps: list[int | None]
    shape: tuple[int, int]  # upright height and width
    error: str
    turned: bool = False  # by a quarter
    interlaced: str = ""  # the order of the fields, where any frame has two
    sums: tuple[int, ...] = ()  # what tells each frame from others
    corrupt: bool = False  # the decoder made up a part of some frame


def decode_all(path: Path, most: int | None = None) -> DecodedFrames:
    """Decodes the file (or its first `most` frames) up to its end or its first error after a good frame."""
    container, stream = open_video(path)
    with container:
        packets = (packet for packet in sound(container.demux(stream)) if packet.size)
        decoding = Decoding(stream.codec_context, packets)
        stamps: list[int | None] = []
        shape, turned, interlaced, corrupt = (0, 0), False, False, False
        sums = []
        for frame in decoding:
            if not stamps:
                turned = turn_of(frame)[0]
                shape = (frame.width, frame.height) if turned else (frame.height, frame.width)
            stamps.append(frame.pts)
            sums.append(sum_of(frame))
            interlaced = interlaced or frame.interlaced_frame
            corrupt = corrupt or frame.is_corrupt
            if len(stamps) == most:
                break
        order = field_order(stream) if interlaced else ""
        return DecodedFrames(stamps, shape, decoding.error, turned, order, tuple(sums), corrupt)


def sum_of(frame: Any) -> int:
    """A checksum of some rows of its first plane."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
    return zlib.crc32(rows[::4, : plane.width].tobytes())


def field_order(stream: Any) -> str:
    """As the codec names it: top or bottom field first."""
    order = str(getattr(stream.codec_context.field_order, "name", stream.codec_context.field_order)).lower()
    return {"tt": "top first", "tb": "top first", "bb": "bottom first", "bt": "bottom first"}.get(order, "interlaced")


def trustworthy(
    path: Path, read: DecodedFrames, times: Float64[np.ndarray, "t"], keys: Float64[np.ndarray, "k"]
) -> bool:
    """Whether decoding that begins at some of the key frames gives the frames that decoding in sequence gives.

    Of a long file, of which only the ends were decoded, a stretch is decoded from the key frame before it as well.
    """
    keys = keys[(keys > times[0] + SAME) & (keys <= times[-1] + SAME)]
    if not keys.size:
        return True  # reading begins with the file in any case
    whole = len(read.sums) == len(times)
    try:
        for number, key in enumerate(keys[np.unique(np.linspace(0, len(keys) - 1, TRIED).astype(int))].tolist()):
            index = int(np.searchsorted(times, key + SAME, side="right")) - 1
            first = min(max(index + BESIDE[number], 0), len(times) - 1)
            found = sums_between(path, times, first, min(first + 3, len(times)))
            if whole:
                expected = dict(zip(np.round(times, 6).tolist(), read.sums, strict=True))
            elif number == 1:
                expected = sums_between(path, times, max(first - LONG_STRETCH, 0), min(first + 3, len(times)))
            else:
                continue
            if any(expected.get(time, some) != some for time, some in found.items()):
                return False
    except VideoError:
        return False
    return True


def sums_between(path: Path, times: Float64[np.ndarray, "t"], first: int, last: int) -> dict[float, int]:
    """What tells the frames `first` to `last` (excluded) from others, by their time, when reading begins there."""
    end = float(times[last]) if last < len(times) else float("inf")
    with Reader(path, float(times[first]), end) as reader:
        sums, when = reader.each(sum_of)
    near = (when >= times[first] - SAME) & (when < end - SAME)
    if not near.any():
        raise VideoError(f"{path.name} has no frame where one was")
    return {time: sums[index] for index, time in enumerate(np.round(when, 6).tolist()) if near[index]}


def probe_sequence(path: Path, cheap: int, reading: Reading) -> Probe:
    """The same of an image sequence: all its pictures where that is cheap, else those at its ends and in its middle."""
    began = time.process_time()
    rate = reading.rate or FRAME_RATE
    with Stills(path, reading=reading) as stills:
        times = stills.times
        first, codec = stills.first()
        height, width = first.shape[:2]
        looked = np.arange(len(times))
        if first.size // 3 * len(times) > cheap:
            looked = np.unique(np.linspace(0, len(times) - 1, 16).astype(int))
        for index in looked.tolist():
            stills.frames(times[index : index + 1])
        note = stills.note
    return Probe(
        times=times,
        start=0.0,
        end=float(times[-1]) + frame_duration(times, rate),
        fps=(len(times) - 1) / float(times[-1]) if times[-1] > 0 else rate,
        frames=len(times),
        width=width,
        height=height,
        codec=codec,
        note=note,
        decoded=len(looked),
        seconds=time.process_time() - began,
        reading=Reading(rate=rate).words,
    )


def sound(packets: Iterator[Any]) -> Iterator[Any]:
    """Packets up to where the file is cut."""
    try:
        yield from packets
    except av.error.FFmpegError:
        return


def both_ends(path: Path, times: Float64[np.ndarray, "t"]) -> DecodedFrames | None:
    """The first frames of a long file, provided that its last ones decode too."""
    first = decode_all(path, most=2)
    try:
        read_frames(path, times[-2:])
    except VideoError:
        return None
    return first if first.stamps and first.stamps[0] is not None else None
