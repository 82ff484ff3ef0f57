"""A corpus of coloured halves, and an aligner that knows colours and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.video.writer import write_video

COLOURS = {"red": (230, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 240)}


class Colours:
    """An `Aligner` without training: a patch is its mean colour, a text the colour it names."""

    def __init__(self) -> None:
        self.identity, self.width = "colours", 3
        self.looked = 0  # frames

    def patches(self, frames: np.ndarray) -> torch.Tensor:
        self.looked += len(frames)
        rows, columns = frames.shape[1] // 8, frames.shape[2] // 8
        cells = frames[:, : rows * 8, : columns * 8].reshape(-1, rows, 8, columns, 8, 3).mean((2, 4))
        return torch.from_numpy(cells - 110).float()

    def texts(self, texts: list[str]) -> torch.Tensor:
        return torch.stack([self.colour(text) for text in texts])

    def colour(self, text: str) -> torch.Tensor:
        named = [COLOURS[word] for word in text.split() if word in COLOURS]
        return torch.tensor(named[0] if named else (1, 1, 1)).float() - 110 * bool(named)


def halves(left: str, right: str, frames: int) -> np.ndarray:
    """A video whose halves have these colours until its middle, and change places then."""
    clip = np.empty((frames, 32, 48, 3), np.uint8)
    for number in range(frames):
        one, other = (left, right) if number < frames / 2 else (right, left)
        clip[number, :, :24], clip[number, :, 24:] = COLOURS[one], COLOURS[other]
    return clip


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Four videos of two seconds at 8 frames per second; three captions each, two of which are one text."""
    pairs = [("red", "green"), ("green", "blue"), ("blue", "red"), ("red", "blue")]
    videos, captions = [], []
    for number, (left, right) in enumerate(pairs):
        name = f"clip {number}"
        write_video(tmp_path / f"{name}.mp4", halves(left, right, 16), fps=8, crf=8)
        row = {"id": name, "path": f"{name}.mp4", "end": 2.0, "fps": 8.0, "frames": 16, "height": 32, "width": 48}
        videos.append({**row, "split": "test" if number == 3 else "train"})
        captions += [
            {"video": name, "text": f"A {left} half.", "source": "left"},
            {"video": name, "text": f"a {left}  half", "source": "left"},
            {"video": name, "text": f"{right}", "source": "right"},
        ]
    return write_corpus(tmp_path, "halves", videos, captions)


@pytest.fixture
def colours() -> Colours:
    return Colours()
