"""Decoded frames of a small corpus in one memory-mapped file, so that training reads them without a decoder.

Keyed by what the files are (their rows, sizes and times of change) and by the short side the frames are kept at; made
once, in a folder that appears whole; checked when it is opened. Every frame is kept, so any sampling can be drawn.
"""

import fcntl
import hashlib
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float64, UInt8

from tubelet.data.augment import resize
from tubelet.data.limits import Limits, limits
from tubelet.data.processes import Failure, cores, run_each
from tubelet.data.table import Corpus, Video, write_whole
from tubelet.data.video import SAME, Cut, Reader
from tubelet.errors import CorpusError, VideoError

FORMAT = 1
CHUNK = 1 << 28  # bytes of full frames held at once while building
LIMIT = 600.0  # seconds that one video may take
CHECKED = 64  # videos whose bytes are compared when a cache is opened

INDEX = np.dtype(
    [
        ("row", "<i8"),
        ("offset", "<i8"),  # of its first byte
        ("frames", "<i8"),
        ("height", "<i8"),
        ("width", "<i8"),
        ("times", "<i8"),  # place of its first timestamp
        ("check", "<u4"),  # CRC-32 of its bytes
    ]
)

Progress = Callable[[int, int], None]


class Frames:
    """The decoded frames of every usable video of a corpus."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = json.loads((folder / "about.json").read_text())
        self.failed: dict[int, str] = {int(row): reason for row, reason in about["failed"].items()}
        with np.load(folder / "index.npz") as arrays:
            self.index, self.times = arrays["index"], arrays["times"]
        self.places = {int(row): place for place, row in enumerate(self.index["row"])}
        size = about["bytes"]
        self.bytes: UInt8[np.ndarray, bytes] = (
            np.memmap(folder / "frames.bin", np.uint8, "r", shape=(size,)) if size else np.empty(0, np.uint8)
        )

    def __reduce__(self) -> tuple[type["Frames"], tuple[Path]]:
        return Frames, (self.folder,)

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def of(cls, corpus: Corpus, short_side: int, progress: Progress = lambda done, total: None) -> "Frames":
        """The cache of this corpus at this short side; made now where it is missing or damaged."""
        videos = corpus.select("all")
        folder = corpus.folder / "frames" / cache_key(videos, short_side)
        folder.parent.mkdir(exist_ok=True)
        with locked(folder.parent / "lock"):
            if folder.exists():
                try:
                    found = cls(folder)
                    found.verify()
                except (OSError, ValueError, KeyError, EOFError, BadZipFile):
                    shutil.rmtree(folder)
                else:
                    return found
            build(folder, videos, short_side, progress)
        return cls(folder)

    def open(self, video: Video) -> "Kept":
        """The frames of this video, with the same face as a `Reader`."""
        place = self.places.get(video.row)
        if place is None:
            raise VideoError(self.failed.get(video.row, "not in the cache of decoded frames"))
        entry = self.index[place]
        offset, count, height, width, first = (
            int(entry[name]) for name in ("offset", "frames", "height", "width", "times")
        )
        frames = self.bytes[offset : offset + count * height * width * 3].reshape(count, height, width, 3)
        return Kept(frames, self.times[first : first + count])

    def verify(self) -> None:
        """Compares the sizes, and the bytes of some videos spread over the file; `ValueError` where they differ."""
        ends = self.index["offset"] + self.index["frames"] * self.index["height"] * self.index["width"] * 3
        if len(ends) and int(ends[-1]) != self.bytes.size:
            raise ValueError("the cache of decoded frames has the wrong size")
        for place in np.unique(np.linspace(0, len(ends) - 1, CHECKED).astype(int)).tolist() if len(ends) else []:
            content = self.bytes[int(self.index["offset"][place]) : int(ends[place])]
            if zlib.crc32(content.data) != int(self.index["check"][place]):
                raise ValueError("the cache of decoded frames is damaged")


@dataclass(frozen=True)
class Kept:
    """The decoded frames of one video."""

    all: UInt8[np.ndarray, "t h w 3"]
    times: Float64[np.ndarray, "t"]

    def frames(
        self, times: Sequence[float] | Float64[np.ndarray, "c"], cut: Cut | None = None
    ) -> UInt8[np.ndarray, "c rows columns 3"]:
        places = np.searchsorted(self.times, np.asarray(times) + SAME, side="right") - 1
        return (self.all if cut is None else cut(self.all))[np.maximum(places, 0)]

    def __enter__(self) -> "Kept":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


def cache_key(videos: Sequence[Video], short_side: int) -> str:
    """What decides the content: the rows, the files as they are now, the size, and this module's format."""
    digest = hashlib.blake2b(repr((FORMAT, short_side)).encode(), digest_size=8)
    for video in videos:
        try:
            stat = video.path.stat()
            state = (stat.st_size, stat.st_mtime_ns)
        except OSError:
            state = (-1, -1)
        digest.update(repr((video.row, video.id, video.start, video.end, *state)).encode())
    return f"{short_side}-{digest.hexdigest()}"


def build(folder: Path, videos: Sequence[Video], short_side: int, progress: Progress) -> None:
    """Decodes every video once and lets the folder appear when all is there."""
    needed = expected_bytes(videos, short_side)
    free = shutil.disk_usage(folder.parent).free
    if needed > 0.9 * free:
        raise CorpusError(
            f"decoded frames of {len(videos)} videos at {short_side} pixels need {needed / 2**30:.1f} GiB and "
            f"{folder.parent} has {free / 2**30:.1f} GiB; use data.cache=False or a smaller data.cache_size"
        )
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    index, times, failed, written, stamped = [], [], {}, 0, 0
    progress(0, len(videos))
    with (part / "frames.bin").open("wb") as file:
        jobs = [(video.path, video.start, video.end, short_side) for video in videos]
        most = limits(Limits(seconds=LIMIT))
        memory = most.memory + 3 * max((expected_bytes([video], short_side) for video in videos), default=0)
        for done, (place, outcome) in enumerate(
            run_each(decode, jobs, most.workers or cores(), most.seconds, memory), 1
        ):
            row = videos[place].row
            if isinstance(outcome, Failure):
                failed[row] = outcome.reason
            else:
                frames, stamps = outcome
                file.write(frames)
                index.append((row, written, *frames.shape[:3], stamped, zlib.crc32(frames)))
                times.append(stamps)
                written += frames.size
                stamped += len(stamps)
            progress(done, len(videos))
        file.flush()
        os.fsync(file.fileno())
    np.savez(part / "index.npz", index=np.array(index, INDEX), times=np.concatenate([np.empty(0), *times]))
    about = {"format": FORMAT, "short_side": short_side, "bytes": written, "failed": failed}
    write_whole(part / "about.json", json.dumps(about).encode())
    os.replace(part, folder)


def decode(job: tuple[Path, float, float, int]) -> tuple[UInt8[np.ndarray, "t h w 3"], Float64[np.ndarray, "t"]]:
    """Every frame of a row, no larger than the short side asks."""
    path, start, end, short_side = job
    with Reader(path, start, end) as reader:
        times = reader.times
        if not times.size:
            raise VideoError(f"no frame from {start:g} s to {end:g} s")
        first = reader.frames(times[:1])
        height, width = kept_size(first.shape[1], first.shape[2], short_side)
        step = max(8, CHUNK // first.nbytes)
        parts = []
        for at in range(0, len(times), step):
            planes = resize(reader.frames(times[at : at + step]), height, width)
            parts.append(planes.permute(1, 2, 3, 0).contiguous().numpy())
        return np.concatenate(parts), times


def kept_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width with this short side; frames are never enlarged."""
    scale = min(1.0, short_side / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def expected_bytes(videos: Sequence[Video], short_side: int) -> int:
    return sum(
        video.frames * math.prod(kept_size(video.height, video.width, short_side)) * 3
        for video in videos
        if video.height and video.width
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time: the ranks of a run wait for the one that builds."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
