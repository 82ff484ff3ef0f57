"""Files of every kind that a corpus may hold, made small: codec x container x B-frames x GOP x start time."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from support.altered import ALTERED, EDITS
from support.bars import moving

VOP = b"\0\0\1\xb6"  # the start of a picture in MPEG-4 part 2
PLACEHOLDER = b"\x7f"
WRITER = re.compile(rb"\x00\x00\x01\xb2Lavc[0-9.]*")  # what an MPEG-4 file says of its encoder
PACKED = b"\x00\x00\x01\xb2DivX503b1393p"


@dataclass(frozen=True)
class Kind:
    """What a made file is."""

    codec: str
    container: str
    b_frames: int
    gop: int
    start: float = 0.0
    options: tuple[tuple[str, str], ...] = ()
    packed: bool = False
    uneven: bool = False  # frames at uneven times
    muxer: tuple[tuple[str, str], ...] = ()
    altered: str = ""  # what became of it (altered.py)

    @property
    def name(self) -> str:
        more = (
            "".join(f" {name}={value}" for name, value in self.options + self.muxer).replace("/", "-").replace(":", "+")
        )
        start = f" from {self.start:g} s" if self.start else ""
        words = "".join(
            [" packed"] * self.packed + [" uneven"] * self.uneven + [f" {self.altered}"] * bool(self.altered)
        )
        return f"{self.codec} bf={self.b_frames} g={self.gop}{start}{words}{more}.{self.container}"


def kinds() -> Iterator[Kind]:
    """All of them, in an order in which neighbours differ little."""
    for b_frames in (0, 1, 2):
        for gop in (5, 12, 300):
            for container in ("avi", "mp4", "mkv", "mov"):
                for start in (0.0, 3.0) if container == "mkv" else (0.0,):
                    yield Kind("mpeg4", container, b_frames, gop, start)
            if b_frames == 1:
                yield Kind("mpeg4", "avi", b_frames, gop, packed=True)
    for b_frames in (0, 3):
        for gop in (6, 250):
            for container in ("mp4", "avi", "mkv", "ts", "flv", "mov"):
                for start in (0.0, 2.4) if container in ("mp4", "ts", "mkv", "flv") else (0.0,):
                    yield Kind("libx264", container, b_frames, gop, start)
    for container in ("mp4", "avi", "mkv", "ts", "h264"):
        yield Kind("libx264", container, 3, 12, options=(("x264-params", "open-gop=1:scenecut=0:keyint=8"),))
        yield Kind("libx264", container, 3, 250, options=(("intra-refresh", "1"), ("x264-params", "keyint=12")))
        yield Kind("libx264", container, 2, 10, options=(("x264-params", "b-pyramid=none:sliced-threads=1"),))
    for b_frames in (0, 4):
        for container in ("mp4", "mkv", "ts"):
            for start in (0.0, 1.5):
                closed = "open-gop=0" if start else "open-gop=1"
                params = f"keyint=10:min-keyint=10:{closed}:bframes={b_frames}:pools=1:frame-threads=1:log-level=none"
                yield Kind("libx265", container, b_frames, 10, start, (("x265-params", params),))
    for codec in ("mpeg1video", "mpeg2video"):
        for b_frames in (0, 2):
            for gop in (6, 15):
                for container in ("mpg", "ts", "avi", "mkv"):
                    yield Kind(codec, container, b_frames, gop, 2.0 if container == "ts" else 0.0)
    yield Kind("mpeg2video", "mxf", 0, 12)
    yield Kind("mpeg2video", "vob", 2, 12)
    for codec in ("libvpx", "libvpx-vp9"):
        for gop in (7, 128):
            for start in (0.0, 5.0):
                options = (("auto-alt-ref", "1"), ("lag-in-frames", "12"), ("deadline", "realtime"), ("cpu-used", "8"))
                yield Kind(codec, "webm", 0, gop, start, options)
            yield Kind(codec, "mkv", 0, gop, options=(("deadline", "realtime"), ("cpu-used", "8")))
            yield Kind(codec, "ivf", 0, gop, options=(("deadline", "realtime"), ("cpu-used", "8")))
    for container in ("mp4", "mkv", "webm"):
        yield Kind("libsvtav1", container, 0, 16, 1.0 if container == "mkv" else 0.0, (("preset", "12"),))
    for codec, containers in OTHERS.items():
        for container in containers:
            for gop in (12,) if codec in ALL_KEYS else (6, 40):
                yield Kind(codec, container, 0, gop)
    yield from as_they_come()


WRAP = 2**33 / 90_000  # seconds after which the clock of a transport stream begins anew


def as_they_come() -> Iterator[Kind]:
    """Uneven times, starts before 0, clocks that wrap, pieces, and what `altered` makes of files."""
    for codec, b_frames in (("libx264", 3), ("mpeg4", 2)):
        for container in ("mp4", "mov", "mkv", "ts", "avi"):
            yield Kind(codec, container, b_frames, 12, uneven=True)
        for container in ("mp4", "mkv", "ts"):
            yield Kind(codec, container, b_frames, 12, start=-0.6)
        for before in (0.3, 1.0):
            yield Kind(codec, "ts", b_frames, 12, start=WRAP - before, muxer=(("mpegts_copyts", "1"),))
        for altered in ("joined", "cut", "holed"):
            yield Kind(codec, "ts", b_frames, 12, altered=altered)
        yield Kind(codec, "avi", b_frames, 12, altered="without index")
        yield Kind(codec, "mkv", b_frames, 12, muxer=(("live", "1"),))  # no cues
        for flags in (
            "frag_keyframe+empty_moov+default_base_moof",
            "frag_every_frame+empty_moov",
            "frag_keyframe+delay_moov",
        ):
            yield Kind(codec, "mp4", b_frames, 12, muxer=(("movflags", flags),))
        for name in EDITS:
            yield Kind(codec, "mp4", b_frames, 12, altered=f"edits {name}")
    for name in EDITS:
        yield Kind("libx264", "mov", 0, 6, altered=f"edits {name}")
    yield Kind("mpeg2video", "mpg", 2, 12, altered="joined")


ALL_KEYS = ("ffv1", "mjpeg", "png", "prores", "rawvideo", "utvideo")  # codecs whose every frame stands alone
OTHERS: dict[str, tuple[str, ...]] = {
    "apng": ("apng",), "asv2": ("avi",), "cinepak": ("avi", "mov"), "ffv1": ("mkv", "avi"), "flashsv": ("flv",),
    "flashsv2": ("flv",), "flv": ("flv", "avi"), "gif": ("gif",), "h263": ("3gp", "avi"), "h263p": ("avi",),
    "magicyuv": ("avi",), "mjpeg": ("avi", "mp4", "mkv", "mjpeg"), "msmpeg4": ("avi", "asf"), "msmpeg4v2": ("avi",),
    "msvideo1": ("avi",), "png": ("mov", "avi"), "prores": ("mov",), "qtrle": ("mov",), "rawvideo": ("avi", "nut"),
    "rpza": ("mov",), "rv20": ("rm",), "snow": ("avi",), "svq1": ("mov",), "utvideo": ("avi",), "wmv1": ("wmv", "avi"),
    "wmv2": ("wmv", "asf"), "zmbv": ("avi",),
}  # fmt: skip
FORMATS = {
    "apng": "rgb24", "cinepak": "rgb24", "flashsv": "bgr24", "flashsv2": "bgr24", "gif": "rgb8", "mjpeg": "yuvj420p",
    "msvideo1": "rgb555le", "png": "rgb24", "prores": "yuv422p10le", "qtrle": "rgb24", "rpza": "rgb555le",
    "svq1": "yuv410p", "zmbv": "bgr0",
}  # fmt: skip
SIZES = {"h263": (96, 128), "libx265": (64, 64)}  # x265 writes beyond its memory at a picture of 40 by 48


def make(folder: Path, kind: Kind, count: int = 40, rate: int = 25) -> Path:
    """The file of this kind, `count` frames of a walking bar."""
    path = folder / kind.name
    if kind.packed:
        plain = make(folder, Kind(kind.codec, kind.container, kind.b_frames, kind.gop, options=kind.options), count)
        pack(plain, path)
        return path
    if kind.altered:
        ALTERED[kind.altered](make(folder, replace(kind, altered=""), count, rate), path)
        return path
    height, width = SIZES.get(kind.codec, (40, 48))
    encode(path, kind, moving(count, height, width), rate)
    return path


def encode(path: Path, kind: Kind, frames: UInt8[np.ndarray, "t h w 3"], rate: int) -> None:
    how = {"format": "vob"} if kind.container == "vob" else {}
    with av.open(str(path), "w", options=dict(kind.muxer), **how) as container:
        stream: Any = container.add_stream(kind.codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = FORMATS.get(kind.codec, "yuv420p")
        stream.options = {"threads": "1", **dict(kind.options)}
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = kind.gop
        if kind.b_frames and kind.codec != "libx265":
            stream.codec_context.max_b_frames = kind.b_frames
        if kind.codec in ("mpeg4", "mpeg1video", "mpeg2video"):
            stream.bit_rate = 400_000
        if kind.uneven:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb24")
            frame.pts, frame.time_base = number + round(kind.start * rate), Fraction(1, rate)
            if kind.uneven:
                frame.pts, frame.time_base = uneven(number), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def uneven(number: int) -> int:
    """The milliseconds at which a frame of an uneven file is shown: with steps of 27 to 87, and pauses."""
    return 40 * number + 20 * (number % 3 > 1) + 900 * (number // 17) + 7 * (number // 5)


def pack(source: Path, path: Path) -> None:
    """The MPEG-4 of an AVI as DivX packs it: each B-frame in one packet with the frame it looks ahead to.

    In its own place stands a packet of one byte, flagged as a key frame.
    """
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        pictures = [WRITER.sub(PACKED, bytes(packet)) for packet in container.demux(stream) if packet.size]
        keys = [coding_type(picture) == 0 for picture in pictures]
        with av.open(str(path), "w") as out:
            copy = out.add_stream_from_template(stream)
            copy.codec_context.codec_tag = "DX50"
            copy.codec_context.extradata = WRITER.sub(PACKED, stream.codec_context.extradata)
            for position, (content, is_key) in enumerate(packed(pictures, keys)):
                packet = av.Packet(content)
                packet.stream, packet.is_keyframe = copy, is_key
                packet.pts = packet.dts = position
                packet.time_base = stream.time_base
                out.mux(packet)


def packed(pictures: Sequence[bytes], keys: Sequence[bool]) -> Iterator[tuple[bytes, bool]]:
    """Packets and their flags: [I] [P B] [placeholder] [P B] [placeholder] ..."""
    position = 0
    while position < len(pictures):
        ahead = position + 1 < len(pictures) and coding_type(pictures[position + 1]) == 2
        yield (pictures[position] + pictures[position + 1] if ahead else pictures[position]), keys[position]
        if ahead:
            yield PLACEHOLDER, True
        position += 1 + ahead


def coding_type(picture: bytes) -> int:
    """0: I, 1: P, 2: B."""
    return picture[picture.index(VOP) + len(VOP)] >> 6
