"""How well `tubelet curate` finds what was planted in a corpus of real clips.

python -m benchmarks.curation FOLDER [--each 15]

Every clip is used once, as it is or with one thing planted. Prints precision and recall of every finding, with what was
missed and what was found where nothing was planted.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

import tubelet
from benchmarks.tables import markdown
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import VideoError
from tubelet.seeds import key
from tubelet.video.reader import open_reader
from tubelet.video.writer import write_video

RATE, FRAMES, SHORT = 8.0, 24, 160
Frames = UInt8[np.ndarray, "t h w 3"]


def read(path: Path) -> Frames:
    """Three seconds, eight frames in each."""
    with open_reader(path, 0.0, float("inf")) as reader:
        asked = reader.times[0] + np.arange(FRAMES) / RATE
        shown = np.searchsorted(reader.times, asked[asked <= reader.times[-1]] + 1e-6, side="right") - 1
        frames = reader.frames(reader.times[np.unique(shown)])
    return resized(frames, SHORT / min(frames.shape[1:3]))


def resized(frames: Frames, scale: float) -> Frames:
    size = tuple(2 * round(side * scale / 2) for side in frames.shape[2:0:-1])
    return np.stack([np.asarray(Image.fromarray(frame).resize(size)) for frame in frames])


def noisy(frames: Frames, rng: np.random.Generator) -> Frames:
    """With the noise of a sensor."""
    return (frames + rng.normal(0, 1.5, frames.shape)).round().clip(0, 255).astype(np.uint8)


def blurred(frames: Frames) -> Frames:
    """By a Gaussian of 2.5 % of the short side."""
    blur = ImageFilter.GaussianBlur(0.025 * SHORT)
    return np.stack([np.asarray(Image.fromarray(frame).filter(blur)) for frame in frames])


def joined(first: Frames, second: Frames, rng: np.random.Generator) -> Frames:
    cut = int(rng.integers(4, len(first) - 3))
    other = [np.asarray(Image.fromarray(frame).resize(first.shape[2:0:-1])) for frame in second]
    return np.concatenate([first[:cut], np.stack(other)[: FRAMES - cut]])


COPIES: dict[str, Callable[[Frames], tuple[Frames, int]]] = {
    "compressed": lambda frames: (frames, 36),
    "at half the size": lambda frames: (resized(frames, 0.5), 23),
    "2 % brighter": lambda frames: ((frames * 1.02).clip(0, 255).astype(np.uint8), 23),
}


def planted(paths: Sequence[Path], each: int, folder: Path) -> tuple[Corpus, dict[str, str]]:
    """A corpus, and by id what was planted; "" where nothing was."""
    clips = (frames for path in paths if (frames := readable(path)) is not None)
    rng = np.random.default_rng(0)
    rows, said = [], {}

    def add(name: str, what: str, frames: Frames, crf: int = 23) -> None:
        path = folder / f"{name}.mp4"
        write_video(path, frames, RATE, crf=crf)
        height, width = frames.shape[1:3]
        rows.append(
            {"id": name, "path": path, "end": len(frames) / RATE, "fps": RATE, "frames": len(frames), "width": width,
             "height": height}
        )  # fmt: skip
        said[name] = what

    for number in range(each):
        add(f"plain {number}", "", next(clips))
        add(f"black {number}", "black", noisy(np.full_like(next(clips), 4), rng))
        add(f"frozen {number}", "frozen", noisy(next(clips)[:1].repeat(FRAMES, 0), rng))
        add(f"blurred {number}", "blurred", blurred(next(clips)))
        add(f"joined {number}", "shots", joined(next(clips), next(clips), rng))
        original = next(clips)
        add(f"copied {number}", "", original)
        how = list(COPIES)[number % len(COPIES)]
        frames, crf = COPIES[how](original)
        add(f"copy {number}, {how}", "duplicate", frames, crf)
    return write_corpus(folder / "corpus", "planted", rows), said


def readable(path: Path) -> Frames | None:
    """None of one that is shorter than two seconds."""
    try:
        frames = read(path)
    except VideoError:
        return None
    return frames if len(frames) >= 2 * RATE else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="folder of clips that differ from each other")
    parser.add_argument("--each", type=int, default=15, help="clips of each kind (default: %(default)s)")
    options = parser.parse_args()
    paths = sorted(options.videos.rglob("*.mp4"), key=lambda path: key(0, path.name))
    with TemporaryDirectory() as folder:
        corpus, said = planted(paths, options.each, Path(folder))
        found = tubelet.curate(corpus)
    rows: list[dict[str, Any]] = []
    for name in ("black", "frozen", "blurred", "shots", "duplicate"):
        there = {video for video, what in said.items() if what == name}
        named = {video for video, findings in found.findings.items() if name in findings}
        right = len(there & named)
        rows.append(
            {"finding": name, "planted": len(there), "found": right, "not planted": len(named - there),
             "precision": f"{right / max(len(named), 1):.2f}", "recall": f"{right / len(there):.2f}"}
        )  # fmt: skip
        for title, some in (("missed", there - named), ("not planted", named - there)):
            for video in sorted(some):
                print(f"{name}, {title}: {video}: {found.looks[video]}")
    print(markdown(rows))


if __name__ == "__main__":
    main()
