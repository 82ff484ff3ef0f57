"""What a video file really holds, found out by decoding: headers are not trusted. Start reading at `probe`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from jaxtyping import Float64

from tubelet.data.decoding import Decoding, open_video, turn_of
from tubelet.data.limits import Undecodable, regular_file
from tubelet.data.video import SAME, frame_duration, read_frames
from tubelet.errors import VideoError

CHEAP = 150_000_000  # pixels that a probe decodes without thinking: 490 frames of 640x480
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

    @property
    def duration(self) -> float:
        return self.end - self.start


def probe(path: str | Path, cheap: int = CHEAP) -> Probe:
    """What the file really holds. `Undecodable` says why where that is nothing.

    A file of at most `cheap` pixels is decoded to its end, so its count is exact. Of a longer one the beginning and the
    end are decoded, and all of it only where the end does not decode.
    """
    path = Path(path)
    if not regular_file(path).st_size:
        raise Undecodable("empty", "the file is empty")
    began = time.process_time()
    container, stream = open_video(path)
    with container:
        codec = stream.codec_context.codec.canonical_name
        origin, unit = stream.start_time or 0, float(stream.time_base)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        size = stream.codec_context.width * stream.codec_context.height
        claimed = stream.frames
        stamps, encrypted = packet_stamps(container, stream)
    if not stamps:
        if encrypted or names_encrypted_track(path):
            raise Undecodable(*ENCRYPTED)
        promise = f", though its header promises {claimed} frames" if claimed else ""
        raise Undecodable("empty", f"the video stream holds no frame{promise}")
    regular = None not in stamps and len(set(stamps)) == len(stamps)
    note = ""
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
            times = (np.array(sorted(known), dtype=np.int64) - origin) * unit
        backwards = sum(late <= early for early, late in pairwise(known))
        if read.error and len(times) < promised:
            note = f"ends after {len(times)} of {promised} frames: {read.error}"
        elif backwards:
            note = f"timestamps run backwards at {backwards} frames; put in order"
    last = frame_duration(times, rate)
    return Probe(
        times=times,
        start=float(times[0]),
        end=float(times[-1]) + last,
        fps=(len(times) - 1) / float(times[-1] - times[0]) if times[-1] > times[0] else 1 / last,
        frames=len(times),
        width=read.shape[1],
        height=read.shape[0],
        codec=codec,
        note=note,
        decoded=frames_decoded,
        seconds=time.process_time() - began,
    )


def packet_stamps(container: Any, stream: Any) -> tuple[list[int | None], bool]:
    """The timestamps of the packets that show a frame, and whether any packet is encrypted."""
    stamps: list[int | None] = []
    encrypted = False
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                stamps.append(packet.pts)
                encrypted = encrypted or packet.has_sidedata("encryption_info")
    except av.error.FFmpegError:
        pass
    return stamps, encrypted


def names_encrypted_track(path: Path) -> bool:
    """Whether an MP4 header declares an encrypted video track (`encv`); some such files hold no packet at all."""
    with path.open("rb") as file:
        head = file.read(1 << 20)
        file.seek(max(0, path.stat().st_size - (1 << 20)))
        return b"encv" in head or b"encv" in file.read()


@dataclass(frozen=True)
class Decoded:
    stamps: list[int | None]
    shape: tuple[int, int]  # upright height and width
    error: str


def decode_all(path: Path, most: int | None = None) -> Decoded:
    """Decodes the file (or its first `most` frames) up to its end or its first error after a good frame."""
    container, stream = open_video(path)
    with container:
        packets = (packet for packet in sound(container.demux(stream)) if packet.size)
        decoding = Decoding(stream.codec_context, packets)
        stamps: list[int | None] = []
        shape = (0, 0)
        for frame in decoding:
            if not stamps:
                shape = (frame.width, frame.height) if turn_of(frame)[0] else (frame.height, frame.width)
            stamps.append(frame.pts)
            if len(stamps) == most:
                break
        return Decoded(stamps, shape, decoding.error)


def sound(packets: Iterator[Any]) -> Iterator[Any]:
    """Packets up to where the file is cut."""
    try:
        yield from packets
    except av.error.FFmpegError:
        return


def both_ends(path: Path, times: Float64[np.ndarray, "t"]) -> Decoded | None:
    """The first frames of a long file, provided that its last ones decode too."""
    first = decode_all(path, most=2)
    try:
        read_frames(path, times[-2:])
    except VideoError:
        return None
    return first if first.stamps and first.stamps[0] is not None else None
