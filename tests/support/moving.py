"""Pictures that move by a known vector, and an engine that finds one vector for a whole picture."""

from pathlib import Path

import chz
import numpy as np

from tubelet.corpus.probe import probe
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.saliency_maps.base import Engine
from tubelet.video.crop import resize
from tubelet.video.writer import write_video

HEIGHT, WIDTH = 96, 128


def translated(frames: int, dx: int, dy: int, seed: int = 0) -> np.ndarray:
    """A soft random texture whose content moves by (dx, dy) pixels from each frame to the next."""
    coarse = np.random.default_rng(seed).integers(0, 255, (1, 48, 48, 3), np.uint8)
    picture = resize(coarse, 288, 384).numpy()[:, 0].transpose(1, 2, 0)
    top, left = 96 - dy * np.arange(frames), 128 - dx * np.arange(frames)
    return np.stack([picture[y : y + HEIGHT, x : x + WIDTH] for y, x in zip(top, left, strict=True)])


def write_moving(
    folder: Path, name: str, dx: int, dy: int, frames: int = 16, fps: float = 10, **how: object
) -> dict[str, object]:
    """One file, and its row of the table."""
    write_video(folder / name, translated(frames, dx, dy), fps, **how)  # type: ignore[arg-type]
    found = probe(folder / name)
    row = {"id": Path(name).stem, "path": name, "start": found.start, "end": found.end, "fps": fps, "frames": frames}
    return {**row, "height": found.height, "width": found.width, "codec": found.codec, "split": "train"}


def row_of(video: Video, **changes: object) -> dict[str, object]:
    """The row of the table that a video was read from."""
    return {**{name: value for name, value in vars(video).items() if name != "row"}, **changes}


def moving_corpus(folder: Path, count: int = 4, **how: object) -> Corpus:
    rows = [write_moving(folder, f"clip {n}.mp4", n - 1, 2 - n, **how) for n in range(count)]
    return write_corpus(folder, "moving", rows, [])


@chz.chz
class Shift(Engine):
    """Phase correlation: the one whole vector by which a picture moved, the same for every pixel."""

    @property
    def identity(self) -> dict[str, str]:
        return {"engine": "Shift"}

    def __call__(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        soft = np.outer(np.hanning(one.shape[0]), np.hanning(one.shape[1]))
        spectra = [np.fft.fft2((picture.mean(-1) - picture.mean()) * soft) for picture in (one, other)]
        cross = spectra[1] * spectra[0].conj()
        peak = np.fft.ifft2(cross / np.maximum(np.abs(cross), 1e-9)).real
        dy, dx = np.unravel_index(peak.argmax(), peak.shape)
        height, width = one.shape[:2]
        vector = [(dx + width // 2) % width - width // 2, (dy + height // 2) % height - height // 2]
        return np.broadcast_to(np.array(vector, np.float32), (height, width, 2))
