"""Corpora to measure jobs on: many small videos, each with other bytes, made of few."""

import struct
from pathlib import Path

import numpy as np

from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.video.writer import write_video

CLASSES = 10
DISTINCT = 20
FPS = 8.0


def corpus_of(folder: Path, count: int, frames: int = 16, height: int = 64, width: int = 64) -> Corpus:
    """So many videos of moving squares; further copies hold a different, empty box of bytes at their end."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for number in range(min(DISTINCT, count)):
        write_video(folder / f"source-{number}.mp4", moving(number, frames, height, width), FPS)
        sources.append((folder / f"source-{number}.mp4").read_bytes())
    rows = []
    for number in range(count):
        path = folder / f"{number:06}.mp4"
        path.write_bytes(sources[number % len(sources)] + struct.pack(">I4sQ", 16, b"free", number))
        rows.append(
            {"id": path.name, "path": path, "end": frames / FPS, "duration": frames / FPS, "fps": FPS, "frames": frames,
             "width": width, "height": height, "label": f"class {number % CLASSES}", "split": "train"}
        )  # fmt: skip
    captions = [{"video": row["id"], "text": f"a square of {row['label']} moves"} for row in rows]
    return write_corpus(folder, f"copies-{count}", rows, captions)


def moving(seed: int, frames: int, height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    video = np.broadcast_to(random.integers(0, 256, (height, width, 3)), (frames, height, width, 3)).astype(np.uint8)
    side = height // 4
    for frame in range(frames):
        top, left = (int((random.random() * 0.1 + frame / frames) * (size - side)) for size in (height, width))
        video[frame, top : top + side, left : left + side] = random.integers(0, 256, 3)
    return video
