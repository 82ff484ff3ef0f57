"""Decoded frames of small corpora in memory-mapped files, so that training reads them without a decoder.

A row is found by what its file holds and its span, so a file that is renamed, touched or moved, or that another corpus
beside this one has, is not decoded again. Frames lie by the short side that they are kept at, in folders that appear
whole, one for every time that something was missing; each is checked when it is opened. Every frame is kept, so any
sampling can be drawn.
"""

import hashlib
import io
import math
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypedDict

import numpy as np
from jaxtyping import Float64, UInt8

from tubelet.checksums import read_json, write_json
from tubelet.corpus.content import content_key, content_of
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, VideoError
from tubelet.files import lock, remove_leftovers, writing
from tubelet.jobs.pool import Failure, cores, run_each
from tubelet.jobs.sharing import shared
from tubelet.progress import Progress, silent
from tubelet.video.content import state_of
from tubelet.video.crop import resize
from tubelet.video.limits import Limits, limits
from tubelet.video.reader import SAME, Cut, open_reader

FORMAT = 2
FOLDER = "frames"
CHUNK = 1 << 28  # bytes of full frames held at once while building
LIMIT = 600.0  # seconds that one video may take
CHECKED = 64  # videos whose bytes are compared when a cache is opened

INDEX = np.dtype(
    [
        ("key", "V16"),  # of content and span
        ("offset", "<i8"),  # of its first byte
        ("frames", "<i8"),
        ("height", "<i8"),
        ("width", "<i8"),
        ("times", "<i8"),  # place of its first timestamp
        ("check", "<u4"),  # CRC-32 of its bytes
    ]
)
DAMAGED = (OSError, ValueError, KeyError, CorpusError)


class FramesAbout(TypedDict):
    """What `about.json` says, which is written last."""

    short_side: int
    bytes: int
    index: int  # CRC-32 of index.npz
    failed: dict[str, str]  # key: reason


class Frames:
    """The decoded frames of every usable video of a corpus, wherever they lie."""

    def __init__(self, parts: Sequence["Part"], keys: Mapping[int, bytes | str]) -> None:
        """`keys` has the key of every row, or why its file cannot be read."""
        self.parts, self.keys = parts, keys

    def __len__(self) -> int:
        return sum(any(key in part.positions for part in self.parts) for key in self.keys.values())

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        short_side: int,
        progress: Progress = silent,
        limit: float = math.inf,
    ) -> "Frames":
        """The frames of this corpus at this short side; made now where they are missing or damaged."""
        videos = corpus.select("all")
        root = corpus.folder / FOLDER / str(short_side)
        root.mkdir(parents=True, exist_ok=True)
        busy = CorpusError(f"another command is decoding into {root}: wait until it ends")
        with lock(root / "lock", busy, patience=None):
            remove_leftovers(root)
            keys = {video.row: key_of(video) for video in videos}
            parts = sound_parts(root, set(keys.values()), own=True)
            for other in shared(root):
                parts += sound_parts(other, set(keys.values()) - known(parts), own=False)
            there = known(parts)
            missing = {key: v for v in videos if isinstance(key := keys[v.row], bytes) and key not in there}
            if missing:
                check_room(root, list(missing.values()), short_side, limit)
                parts.append(Part(build(root, missing, short_side, progress)))
        return cls(parts, keys)

    def open(self, video: Video) -> "CachedFrames":
        """The frames of this video, with the same face as a `Reader`."""
        key = self.keys.get(video.row, "not in the cache of decoded frames")
        if isinstance(key, str):
            raise VideoError(key)
        part = next((part for part in self.parts if key in part.positions), None)
        if part is None:
            raise VideoError(next(part.failed[key] for part in self.parts if key in part.failed))
        return part.open(video, key)


class Part:
    """Frames in one folder. Pickling sends its name alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = read_json(folder / "about.json", FramesAbout, CorpusError, "delete its folder")
        content = (folder / "index.npz").read_bytes()
        if zlib.crc32(content) != about["index"]:
            raise CorpusError(f"{folder / 'index.npz'} is damaged; delete its folder")
        self.short_side = about["short_side"]
        self.failed: dict[bytes, str] = {bytes.fromhex(key): reason for key, reason in about["failed"].items()}
        with np.load(io.BytesIO(content)) as arrays:
            self.index, self.times = arrays["index"], arrays["times"]
        self.positions = {entry.tobytes(): position for position, entry in enumerate(self.index["key"])}
        size = about["bytes"]
        self.bytes: UInt8[np.ndarray, bytes] = (
            np.memmap(folder / "frames.bin", np.uint8, "r", shape=(size,)) if size else np.empty(0, np.uint8)
        )
        self.verified: set[int] = set()  # places of the videos whose bytes are those that were written
        self.again: dict[int, UInt8[np.ndarray, bytes]] = {}  # frames whose bytes were not

    def __reduce__(self) -> tuple[type["Part"], tuple[Path]]:
        return Part, (self.folder,)

    def open(self, video: Video, key: bytes) -> "CachedFrames":
        """The frames of this video, decoded again where the bytes here are damaged."""
        position = self.positions[key]
        entry = self.index[position]
        offset, count, height, width, first = (
            int(entry[name]) for name in ("offset", "frames", "height", "width", "times")
        )
        content = self.bytes[offset : offset + count * height * width * 3]
        if position in self.again or (
            position not in self.verified and zlib.crc32(content.data) != int(entry["check"])
        ):
            content = self.decoded_again(video, position)
        self.verified.add(position)
        return CachedFrames(content.reshape(count, height, width, 3), self.times[first : first + count])

    def decoded_again(self, video: Video, position: int) -> UInt8[np.ndarray, "bytes"]:
        if position not in self.again:
            frames, _ = decode((video.path, video.start, video.end, video.reading, self.short_side))
            if zlib.crc32(frames.data) != int(self.index["check"][position]):
                raise VideoError("its decoded frames are damaged, and it is another video now; index the corpus again")
            self.again[position] = frames.reshape(-1)
        return self.again[position]

    def verify(self) -> None:
        """Compares the sizes, and the bytes of some videos spread over the file; `ValueError` where they differ."""
        ends = self.index["offset"] + self.index["frames"] * self.index["height"] * self.index["width"] * 3
        if len(ends) and int(ends[-1]) != self.bytes.size:
            raise ValueError("the cache of decoded frames has the wrong size")
        for position in np.unique(np.linspace(0, len(ends) - 1, CHECKED).astype(int)).tolist() if len(ends) else []:
            content = self.bytes[int(self.index["offset"][position]) : int(ends[position])]
            if zlib.crc32(content.data) != int(self.index["check"][position]):
                raise ValueError("the cache of decoded frames is damaged")


def key_of(video: Video) -> bytes | str:
    """Of content and span; or why the file cannot be read."""
    if (content := content_of(video)) is not None:
        return content_key(content, video, "")
    try:
        state_of(video.path)
    except (OSError, VideoError) as error:
        return str(error)
    return "cannot be read"


def sound_parts(root: Path, keys: Set[bytes | str], own: bool) -> list[Part]:
    """The parts that hold any of these; a damaged one is deleted where it is this corpus's own, else left alone."""
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            part = Part(folder)
            if keys.isdisjoint(known([part])):
                continue
            part.verify()
        except DAMAGED:
            if own:
                shutil.rmtree(folder)
        else:
            found.append(part)
    return found


def known(parts: Iterable[Part]) -> set[bytes | str]:
    """The keys of all that was decoded, or could not be."""
    return {key for part in parts for key in (*part.positions, *part.failed)}


@dataclass(frozen=True)
class CachedFrames:
    """The decoded frames of one video."""

    all: UInt8[np.ndarray, "t h w 3"]
    times: Float64[np.ndarray, "t"]

    def frames(
        self, times: Sequence[float] | Float64[np.ndarray, "c"], cut: Cut | None = None
    ) -> UInt8[np.ndarray, "c rows columns 3"]:
        positions = np.searchsorted(self.times, np.asarray(times) + SAME, side="right") - 1
        return (self.all if cut is None else cut(self.all))[np.maximum(positions, 0)]

    def __enter__(self) -> "CachedFrames":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


def check_room(root: Path, videos: Sequence[Video], short_side: int, limit: float) -> None:
    """Before the first byte: `CorpusError` where the frames would take more than `limit` GB, or than the disk has."""
    needed = expected_bytes(videos, short_side)
    said = f"decoded frames of {len(videos)} videos at {short_side} pixels need {needed / 1e9:.3g} GB"
    if needed > limit * 1e9:
        raise CorpusError(
            f"{said} in {root}, and data.cache_limit={limit:g}; use data.cache=False (clips are decoded while "
            f"training), a smaller data.cache_size, or data.cache_limit={math.ceil(needed / 1e9)}"
        )
    free = shutil.disk_usage(root).free
    if needed > 0.9 * free:
        raise CorpusError(
            f"{said} and {root} has {free / 1e9:.3g} GB; use data.cache=False or a smaller data.cache_size"
        )


def build(root: Path, videos: Mapping[bytes, Video], short_side: int, progress: Progress) -> Path:
    """Decodes every video once, into a folder that appears when all is there."""
    index, times, failed, written, stamped = [], [], {}, 0, 0
    progress(0, len(videos), "")
    folder = root / hashlib.blake2b(repr((FORMAT, *videos)).encode(), digest_size=8).hexdigest()
    with writing(folder, folder=True) as part:
        with (part / "frames.bin").open("wb") as file:
            keys = list(videos)
            jobs = [(video.path, video.start, video.end, video.reading, short_side) for video in videos.values()]
            most = limits(Limits(seconds=LIMIT))
            memory = most.memory + 3 * max(expected_bytes([video], short_side) for video in videos.values())
            work = run_each(decode, jobs, most.workers or cores(), most.seconds, memory)
            for done, (position, outcome) in enumerate(work, 1):
                if isinstance(outcome, Failure):
                    failed[keys[position].hex()] = outcome.reason
                else:
                    frames, stamps = outcome
                    file.write(frames)
                    index.append((keys[position], written, *frames.shape[:3], stamped, zlib.crc32(frames)))
                    times.append(stamps)
                    written += frames.size
                    stamped += len(stamps)
                progress(done, len(videos), "")
        np.savez(part / "index.npz", index=np.array(index, INDEX), times=np.concatenate([np.empty(0), *times]))
        check = zlib.crc32((part / "index.npz").read_bytes())
        about = {"short_side": short_side, "bytes": written, "index": check, "failed": failed}
        write_json(part / "about.json", {"format": FORMAT, **about})
    return folder


def decode(
    job: tuple[Path, float, float, str | None, int],
) -> tuple[UInt8[np.ndarray, "t h w 3"], Float64[np.ndarray, "t"]]:
    """Every frame of a row, no larger than the short side asks."""
    path, start, end, reading, short_side = job
    with open_reader(path, start, end, reading=reading) as reader:
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
