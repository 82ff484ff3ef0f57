"""What the compressed packets say of themselves: whether they show a frame, and whether decoding may begin with them.

A container flags packets as key frames; the flag may lie. MPEG-4 in AVI is often packed: a B-frame travels in the
packet of the frame it looks ahead to, and in its own place stands a placeholder, flagged like the packet before it.
Encoders also leave packets empty where nothing moves, and send pictures that are never shown and packets without any
picture. A damaged packet counts as one that shows a frame, so that the damage is noticed. What is read here is a few
bits of each packet's header; where those are not understood, the flag counts, and `Reader` judges the start by what
decoding gives.
"""

from collections.abc import Iterator, Sequence
from typing import Any

VOP = b"\0\0\1\xb6"  # the start of an MPEG-4 picture
LAYERS = range(0x20, 0x30)  # start codes of what MPEG-4 says of all its pictures
INTRA, BETWEEN = 0, 2  # types of its pictures: I, and B
WRITTEN_OUT = 15  # the code of a pixel aspect that follows in two bytes
SMALL = 20  # bytes: an MPEG-4 packet without a picture that is larger is damaged
H264_PICTURES = (1, 2, 5)  # units that begin or continue a picture
H264_IDR = 5
NO_PICTURE = {"h264": range(6, 14), "hevc": range(32, 41)}  # units that only tell of pictures, or fill


class Showing:
    """Whether each packet brings a frame to be shown, asked of one after another in the order of decoding."""

    def __init__(self, codec: str, extradata: bytes) -> None:
        self.codec, self.unit_length = codec, unit_length(codec, extradata)
        self.bits = time_bits(extradata) if codec == "mpeg4" else None
        self.pictures: list[int] = []  # of the last packet, where it is MPEG-4
        self._waiting = 0

    def of(self, packet: Any) -> bool:
        if self.codec == "mpeg4":
            return self._of_mpeg4(bytes(packet))
        if self.codec in NO_PICTURE:
            return self._has_picture(packet)
        if self.codec == "vp8":
            return bytes(packet)[0] & 0b10001 != 1  # no key frame, and not to be shown
        return True

    def _of_mpeg4(self, packet: bytes) -> bool:
        """A packet with two pictures leaves one for the next packet, which may hold none of its own."""
        self.bits = time_bits(packet) if self.bits is None else self.bits
        self.pictures = picture_types(packet, self.bits)
        self._waiting += max(len(self.pictures), len(packet) > SMALL and VOP not in packet)
        is_shown = self._waiting > 0
        self._waiting = max(self._waiting - 1, 0)
        return is_shown

    def _has_picture(self, packet: Any) -> bool:
        """Looks no further than the first unit with a picture: this runs for every packet that is read."""
        telling, shift, mask = NO_PICTURE[self.codec], *((0, 31) if self.codec == "h264" else (1, 63))
        only_tells = False
        for unit in units(packet, self.unit_length):
            if unit >> shift & mask not in telling:
                return True
            only_tells = True
        return not only_tells


class Packets:
    """The packets of one stream, in the order of decoding, with what its codec needs to be understood."""

    def __init__(self, packets: Sequence[Any], codec: str, extradata: bytes) -> None:
        self.all, self.codec = packets, codec
        self.shown: list[bool] = []  # of each packet
        self._pictures: list[list[int]] = []
        self._showing = Showing(codec, extradata)
        for packet in packets:
            self.shown.append(self._showing.of(packet))
            self._pictures.append(self._showing.pictures)

    def may_begin(self, index: int) -> bool:
        """Whether decoding may begin with this packet, as far as is known without decoding."""
        if not self.all[index].is_keyframe:
            return False
        return self.codec != "mpeg4" or self._pictures[index][:1] == [INTRA]

    def leading(self, first: int) -> int | None:
        """How many frames that follow the key packet `first` are shown before it; None where only decoding tells."""
        if self.codec == "mpeg4":
            pictures = (kind for kinds in self._pictures[first:] for kind in kinds)
            next(pictures, None)
            return next((count for count, kind in enumerate(pictures) if kind != BETWEEN), 0)
        if self.codec == "h264" and H264_IDR in (
            unit & 31 for unit in units(self.all[first], self._showing.unit_length)
        ):
            return 0
        return None


def picture_types(packet: bytes, bits: int | None) -> list[int]:
    """The types of the pictures in an MPEG-4 packet; one that is not coded ("nothing has changed") is none."""
    found = []
    at = packet.find(VOP)
    while 0 <= at < len(packet) - 5:
        if is_coded(packet[at + 4 : at + 16], bits):
            found.append(packet[at + 4] >> 6)
        at = packet.find(VOP, at + 4)
    return found


def is_coded(header: bytes, bits: int | None) -> bool:
    """The flag that follows the time of a picture, which takes so many bits."""
    if bits is None:
        return True
    flags = Bits(header)
    flags.take(2)
    while flags.take(1):
        pass
    flags.take(1 + bits + 1)
    return flags.take(1) == 1


def time_bits(header: bytes) -> int | None:
    """How many bits the time of an MPEG-4 picture takes, by the header of its layer; None where there is none."""
    at = header.find(b"\0\0\1")
    while 0 <= at < len(header) - 3 and header[at + 3] not in LAYERS:
        at = header.find(b"\0\0\1", at + 3)
    if not 0 <= at < len(header) - 3:
        return None
    flags = Bits(header[at + 4 : at + 36])
    flags.take(1 + 8)
    if flags.take(1):
        flags.take(4 + 3)
    if flags.take(4) == WRITTEN_OUT:
        flags.take(16)
    if flags.take(1):
        flags.take(2 + 1)
        if flags.take(1):
            flags.take(79)
    flags.take(2 + 1)
    return max((flags.take(16) - 1).bit_length(), 1)


class Bits:
    """Bits of some bytes, one after another; zeros behind the last."""

    def __init__(self, content: bytes) -> None:
        self.value, self.left = int.from_bytes(content, "big"), 8 * len(content)

    def take(self, count: int) -> int:
        self.left -= count
        taken = self.value >> self.left if self.left >= 0 else self.value << -self.left
        return taken & ((1 << count) - 1)


def unit_length(codec: str, extradata: bytes) -> int:
    """The bytes of the lengths before the units of H.264 and HEVC; 0 where start codes stand between them."""
    if extradata[:1] != b"\1":
        return 0
    index = 4 if codec == "h264" else 21
    return (extradata[index] & 3) + 1 if len(extradata) > index else 0


def units(packet: Any, length: int) -> Iterator[int]:
    """The header bytes of the units of an H.264 or HEVC packet, after lengths of so many bytes or after start codes."""
    return units_by_length(memoryview(packet), length) if length else units_by_mark(bytes(packet))


def units_by_length(packet: memoryview, length: int) -> Iterator[int]:
    """Of an MP4 or Matroska packet."""
    at, last = 0, len(packet) - length
    while at < last:
        yield packet[at + length]
        at += length + int.from_bytes(packet[at : at + length], "big")


def units_by_mark(packet: bytes) -> Iterator[int]:
    """Of a transport stream's or an AVI's packet."""
    at = packet.find(b"\0\0\1")
    while 0 <= at < len(packet) - 3:
        yield packet[at + 3]
        at = packet.find(b"\0\0\1", at + 3)
