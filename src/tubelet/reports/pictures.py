"""The arrays that evaluations leave in `RUN/pictures`, with their writing and their reading: numpy alone."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from tubelet.checksums import read_npz, write_npz
from tubelet.errors import RunError
from tubelet.files import within

SAMPLES = "samples.npz"
THUMBNAILS = "thumbnails.npz"
LOOKS = "looks.npz"
EPSILON = 255e-6  # of the target: pixel = prediction * (std + EPSILON) + mean


@dataclass(frozen=True)
class Samples:
    """Clips with a mask and what the model made of the hidden part.

    Letters: s samples, n tubelets, m hidden ones, q those of them that were predicted; (t y x) inside a tubelet,
    colour last.
    """

    clip: np.ndarray  # int "4": frames, size, tubelet_frames, tubelet_size
    corpus: np.ndarray  # str "": the name of the corpus
    frames: np.ndarray  # uint8 "s t h w 3"
    hidden: np.ndarray  # int "s m": sorted numbers of the hidden tubelets
    scored: np.ndarray  # int "s q": those of them that were predicted
    nearest: np.ndarray  # int "s q": the visible tubelet nearest to each scored one
    prediction: np.ndarray  # float "s q t y x 3": each tubelet less its mean, over its deviation, per colour
    mean: np.ndarray  # float "s q 3": the truth's, colours in 0..255
    std: np.ndarray  # float "s q 3": the truth's, unbiased
    loss: np.ndarray  # float "s": mean squared error of the prediction
    mean_prediction_loss: np.ndarray  # float "s": the same of predicting 0
    ids: np.ndarray  # str "s"
    captions: np.ndarray  # str "s", "" where there is none
    labels: np.ndarray  # str "s", "" where there is none
    text: np.ndarray  # float "s n": the text map on the tubelets; "s 0" where the run needs none

    @property
    def grid(self) -> tuple[int, int, int]:
        frames, size, depth, side = (int(value) for value in self.clip)
        return frames // depth, size // side, size // side

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Thumbnails:
    """One small picture of each video that the examples of a search name; of one shape."""

    ids: np.ndarray  # str "v"
    frames: np.ndarray  # uint8 "v h w 3"

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Looks:
    """Rows of pictures of a few clips: what the run reads beside them, and what it makes of that.

    Letters: s samples, r rows, f frames of a row, of which `columns` are there.
    """

    corpus: np.ndarray  # str ""
    ids: np.ndarray  # str "s"
    titles: np.ndarray  # str "r"
    notes: np.ndarray  # str "r"
    columns: np.ndarray  # int "r"
    pictures: np.ndarray  # uint8 "s r f h w 3"


NAMES: dict[type, str] = {Samples: SAMPLES, Thumbnails: THUMBNAILS, Looks: LOOKS}


def save(arrays: Samples | Thumbnails | Looks, run: Path) -> Path:
    """Writes them into the run's pictures, whole or not at all."""
    path = within(run, "pictures", NAMES[type(arrays)])
    write_npz(path, {f.name: getattr(arrays, f.name) for f in fields(arrays)})
    return path


def load_samples(run: Path) -> Samples | None:
    """None where the run has none yet."""
    arrays = read(within(run, "pictures", SAMPLES), [f.name for f in fields(Samples)], "reconstruction")
    return None if arrays is None else Samples(**arrays)


def load_thumbnails(run: Path) -> Thumbnails | None:
    """None where the run has none yet."""
    arrays = read(within(run, "pictures", THUMBNAILS), [f.name for f in fields(Thumbnails)], "retrieval")
    return None if arrays is None else Thumbnails(**arrays)


def load_looks(run: Path) -> Looks | None:
    """None where the run has none."""
    path = within(run, "pictures", LOOKS)
    names = [f.name for f in fields(Looks)]
    arrays = (
        read_npz(path, names, RunError, "delete the file, and `tubelet evaluate` writes it again")
        if path.exists()
        else None
    )
    return None if arrays is None else Looks(**arrays)


def has_looks(run: Path) -> bool:
    return within(run, "pictures", LOOKS).exists()


def has_samples(run: Path) -> bool:
    return within(run, "pictures", SAMPLES).exists()


def has_thumbnails(run: Path) -> bool:
    return within(run, "pictures", THUMBNAILS).exists()


def read(path: Path, names: list[str], evaluation: str) -> dict[str, np.ndarray] | None:
    remedy = f"delete the file and run `tubelet evaluate RUN --on CORPUS {evaluation}` again"
    if not path.exists():
        return None
    return read_npz(path, names, RunError, remedy)
