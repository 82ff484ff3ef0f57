"""Image sequences: a video as a folder of frames, or as a pattern (`folder/img_%05d.jpg`) that names some of them.

Frames follow the numbers in their names, which are also their times: a missing number is a moment at which the frame
before it is still shown. The rate is not in the files; it is said when a corpus is made. Start reading at `Stills`.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64, UInt8

from tubelet.errors import VideoError
from tubelet.remote.address import is_remote
from tubelet.video.decoding import Cut, Decoding, Keeping, carries_exif, open_video
from tubelet.video.exif import turn_by_exif
from tubelet.video.limits import Undecodable, regular_file
from tubelet.video.reading import FRAME_RATE, Reading

IMAGES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".jp2"))
FEWEST = 4  # pictures of a folder that is taken for a video when nobody says that it is one
NUMBER = re.compile(r"%0?\d*d")
SAME = 1e-6
NAMED = 3  # gaps that a remark names

T = TypeVar("T")


@dataclass(frozen=True)
class Frames:
    """The files of a sequence in order, and the moment of each, counted in frames."""

    files: tuple[Path, ...]
    positions: tuple[int, ...]
    note: str = ""  # which numbers are missing


def is_sequence(path: Path) -> bool:
    """Whether a path is a folder of frames or a pattern that names some, rather than a video file."""
    return not is_remote(path) and (path.is_dir() or (NUMBER.search(path.name) is not None and not path.is_file()))


def frame_files(path: Path) -> list[Path]:
    """The frames of a sequence, in order; no other file of its folder."""
    return list(frames_of(path).files)


def frames_of(path: Path) -> Frames:
    """`Undecodable` where there is none, or where they are of several kinds."""
    pattern = NUMBER.search(path.name)
    folder = path.parent if pattern else path
    try:
        names = [file.name for file in folder.iterdir() if not file.name.startswith(".")]
    except FileNotFoundError:
        raise Undecodable("missing", "no such folder") from None
    except OSError as error:
        raise Undecodable("unreadable", f"cannot be opened: {error.strerror}") from None
    if pattern:
        before, after = path.name[: pattern.start()], path.name[pattern.end() :]
        wanted = re.compile(f"{re.escape(before)}(\\d+){re.escape(after)}")
        names = [name for name in names if wanted.fullmatch(name)]
    else:
        names = [name for name in names if Path(name).suffix.lower() in IMAGES]
    if not names:
        if not pattern:
            regular_file(path)  # a folder of no pictures is what any folder is: not a file
        raise Undecodable("missing", f"no file is named like {path.name}")
    kinds = Counter(name_pattern(name) for name in names)
    if len(kinds) > 1:
        examples = ", ".join(f"{count} like {kind}" for kind, count in kinds.most_common(NAMED))
        raise Undecodable("unreadable", f"the folder's pictures are not named alike ({examples}); name one of these")
    numbers = sorted((number_of(name), name) for name in names)
    steps = [late - early for (early, _), (late, _) in pairwise(numbers)]
    if 0 in steps:
        double = [name for number, name in numbers if number == numbers[steps.index(0)][0]]
        raise Undecodable("unreadable", f"two pictures have one number: {' and '.join(double)}")
    step = max(Counter(steps).items(), key=lambda item: (item[1], -item[0]))[0] if steps else 1
    if any(late % step for late in steps):
        step = math.gcd(*steps)
    first = numbers[0][0]
    positions = tuple((number - first) // step for number, _ in numbers)
    return Frames(tuple(folder / name for _, name in numbers), positions, gaps([number for number, _ in numbers], step))


def name_pattern(name: str) -> str:
    """What all names of a sequence have in common: all but their last number."""
    stem, suffix = Path(name).stem, Path(name).suffix.lower()
    return re.sub(r"\d+(?=\D*$)", "%d", stem, count=1) + (".jpg" if suffix == ".jpeg" else suffix)


def number_of(name: str) -> int:
    found = re.search(r"(\d+)\D*$", Path(name).stem)
    return int(found[1]) if found else 0


def gaps(numbers: Sequence[int], step: int) -> str:
    """Which numbers are missing, as a remark."""
    missing = [(early + step, late - step) for early, late in pairwise(numbers) if late - early > step]
    if not missing:
        return ""
    count = sum((last - first) // step + 1 for first, last in missing)
    named = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in missing[:NAMED])
    more = ", ..." if len(missing) > NAMED else ""
    return f"{count} of its numbers are missing ({named}{more}); the frame before each is shown on"


def looks_like_sequence(names: Iterable[str]) -> bool:
    """Whether files of these names, all of one folder, are the frames of a video: several, numbered, named alike."""
    pictures = [name for name in names if Path(name).suffix.lower() in IMAGES and not name.startswith(".")]
    kinds = {name_pattern(name) for name in pictures}
    return len(pictures) >= FEWEST and len(kinds) == 1 and "%d" in kinds.pop()


class Stills:
    """The frames of a sequence, with the same face as a `Reader`: every picture is decoded for itself."""

    codec = "images"
    extradata = b""
    packets: Sequence[Any] = ()

    def __init__(
        self, path: str | Path, start: float = -math.inf, end: float = math.inf, reading: Reading | None = None
    ) -> None:
        self.path, self.reading = Path(path), reading or Reading()
        self._found = frames_of(self.path)
        self._all = np.array(self._found.positions, dtype=np.float64) / (self.reading.rate or FRAME_RATE)
        self._inside = (self._all >= start - SAME) & (self._all < end - SAME)
        self._size: tuple[int, ...] | None = None

    def __enter__(self) -> "Stills":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def first(self) -> tuple[UInt8[np.ndarray, "h w 3"], str]:
        """The first picture, and its codec."""
        return self._still(0, None), decoded(self._found.files[0])[1]

    @property
    def note(self) -> str:
        return self._found.note

    @property
    def times(self) -> Float64[np.ndarray, "t"]:
        """When each frame is shown, ascending."""
        return self._all[self._inside]

    def frames(
        self, times: Sequence[float] | Float64[np.ndarray, "t"], cut: Cut | None = None
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """The frame shown at each time."""
        asked = np.asarray(times, dtype=np.float64)
        if not asked.size:
            raise ValueError("no times asked for")
        positions = np.maximum(np.searchsorted(self._all, asked + SAME, side="right") - 1, 0)
        shown = {position: self._still(position, cut) for position in dict.fromkeys(positions.tolist())}
        return np.stack([shown[position] for position in positions.tolist()])

    def each(self, look: Callable[[Any], T]) -> tuple[list[T], Float64[np.ndarray, "t"]]:
        positions = np.flatnonzero(self._inside)
        return [look(decoded(self._found.files[position])[0]) for position in positions], self._all[positions]

    def _still(self, position: int, cut: Cut | None) -> UInt8[np.ndarray, "h w 3"]:
        if self._size is None:
            self._size = upright(self._found.files[0]).shape if position else None
        file = self._found.files[position]
        picture = upright(file)
        if self._size is not None and picture.shape != self._size:
            (height, width), (tall, wide) = picture.shape[:2], self._size[:2]
            raise VideoError(f"{file.name} is {width}x{height}, and the first frame of {self.path.name} {wide}x{tall}")
        self._size = picture.shape
        return picture if cut is None else cut(picture)


def upright(file: Path) -> UInt8[np.ndarray, "h w 3"]:
    """The picture as its camera was held, where it says so (EXIF)."""
    frame = decoded(file)[0]
    turn = turn_by_exif(file.read_bytes()) if carries_exif(frame) else None
    kept = Keeping(np.zeros(1, np.int64), None, turn=turn)
    kept.put(0, frame)
    return kept.frames[0]


def decoded(file: Path) -> tuple[Any, str]:
    """The frame that a picture file holds, and its codec."""
    try:
        container, stream = open_video(file)
        with container:
            decoding = Decoding(stream.codec_context, (packet for packet in container.demux(stream) if packet.size))
            for frame in decoding:
                return frame, stream.codec_context.codec.canonical_name
    except VideoError as error:
        raise VideoError(f"{file.name}: {error}") from None
    raise VideoError(f"{file.name} cannot be decoded" + (decoding.error and f": {decoding.error}"))
