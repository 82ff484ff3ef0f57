"""Files as they come out of recorders, editors and downloads: joined, cut, with holes, without an index, with edits."""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

SIZE = 188  # bytes of a packet of a transport stream

Edit = tuple[float, float | None]  # seconds shown, and from where in the track; None: nothing is shown so long


def joined(source: Path, path: Path) -> None:
    """Two recordings, one written behind the other: the clock starts anew."""
    path.write_bytes(source.read_bytes() * 2)


def cut(source: Path, path: Path) -> None:
    """A broadcast that was switched on in the middle."""
    packets = source.read_bytes()
    path.write_bytes(packets[len(packets) // SIZE // 3 * SIZE :])


def holed(source: Path, path: Path) -> None:
    """Packets lost on the way."""
    packets = source.read_bytes()
    middle = len(packets) // SIZE // 2 * SIZE
    path.write_bytes(packets[:middle] + packets[middle + 8 * SIZE :])


def without_index(source: Path, path: Path) -> None:
    """An AVI whose recorder was switched off before it wrote the index."""
    content = source.read_bytes()
    path.write_bytes(content[: content.rindex(b"idx1")])


def boxes(content: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, place, end) of the boxes of an MP4."""
    while at < end:
        size, name = struct.unpack(">I4s", content[at : at + 8])
        yield name, at, at + size
        at += size


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def edited(source: Path, path: Path, edits: Sequence[Edit]) -> None:
    """An MP4 whose track is shown by these edits; its header stands behind its frames."""
    content = source.read_bytes()

    def inside(at: int, end: int) -> dict[bytes, tuple[int, int]]:
        return {name: (first, last) for name, first, last in boxes(content, at, end)}

    moov = inside(0, len(content))[b"moov"]
    assert moov[1] == len(content)
    movie = inside(moov[0] + 8, moov[1])
    track = inside(movie[b"trak"][0] + 8, movie[b"trak"][1])
    media = inside(track[b"mdia"][0] + 8, track[b"mdia"][1])
    units = [struct.unpack(">I", content[at + 20 : at + 24])[0] for at in (movie[b"mvhd"][0], media[b"mdhd"][0])]
    rows = [
        struct.pack(">IiHH", round(shown * units[0]), -1 if first is None else round(first * units[1]), 1, 0)
        for shown, first in edits
    ]
    new = box(b"edts", box(b"elst", struct.pack(">II", 0, len(rows)) + b"".join(rows)))
    kept = b"".join(content[at:end] for name, (at, end) in track.items() if name != b"edts")
    before, after = content[moov[0] + 8 : movie[b"trak"][0]], content[movie[b"trak"][1] : moov[1]]
    path.write_bytes(content[: moov[0]] + box(b"moov", before + box(b"trak", kept + new) + after))


EDITS: Mapping[str, Sequence[Edit]] = {
    "late": [(0.5, None), (0.6, 0.52)],
    "middle": [(0.6, 0.417)],
    "twice": [(0.8, 0.4), (0.8, 0.4)],
    "two": [(0.5, 0.08), (0.5, 0.92)],
    "swapped": [(0.5, 0.92), (0.5, 0.08)],
    "pause": [(0.5, 0.08), (0.3, None), (0.6, 0.8)],
    "three": [(0.3, 0.08), (0.3, 0.8), (0.4, 1.1)],
}
ALTERED: Mapping[str, Callable[[Path, Path], None]] = {
    "joined": joined, "cut": cut, "holed": holed, "without index": without_index,
    **{f"edits {name}": partial(edited, edits=edits) for name, edits in EDITS.items()},
}  # fmt: skip
