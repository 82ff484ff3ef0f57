"""A corpus of five short videos of moving colours, one of them damaged, and captioning models of every kind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tubelet import cli
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.video.writer import write_video

Run = Callable[..., tuple[int, str, str]]


def drifting(number: int, frames: int = 12) -> np.ndarray:
    """Noise whose colours drift, so that every frame of every video is another."""
    noise = np.random.default_rng(number).integers(0, 256, (4, 6, 3))
    large = np.kron(noise, np.ones((8, 8, 1), int))
    return np.stack([(large + 23 * frame * (number + 1)) % 256 for frame in range(frames)]).astype(np.uint8)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Four good videos of 1.5 s at 8 frames per second in two classes, and one that is no video."""
    rows = []
    for number in range(5):
        path = tmp_path / f"clip {number}.mp4"
        if number == 4:
            path.write_bytes(b"no video")
        else:
            write_video(path, drifting(number), fps=8)
        rows.append(
            {
                "id": path.stem, "path": path.name, "end": 1.5, "fps": 8.0, "frames": 12, "height": 32, "width": 48,
                "label": ("ApplyEyeMakeup", "jump_rope")[number % 2], "split": "test" if number == 3 else "train",
            }
        )  # fmt: skip
    return write_corpus(tmp_path, "drifting", rows)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line: (exit code, stdout, stderr)."""

    def command(*words: object) -> tuple[int, str, str]:
        code = cli.main(list(map(str, words)))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return command
