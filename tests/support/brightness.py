"""A small corpus of real files: half of the clips brighten, half darken; some are missing what a clip should have."""

from pathlib import Path

import numpy as np
import pytest

from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.loading.data import Data
from tubelet.types import Clip
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video


@pytest.fixture(scope="session")
def clip() -> Clip:
    return Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16)


@pytest.fixture(scope="session")
def data() -> Data:
    return Data(sampling=Sampling(stride=1))


def brightness(index: int) -> np.ndarray:
    """Eight frames of one grey: rising in even clips, falling in odd ones, with the same mean."""
    rng = np.random.default_rng(index)
    ramp = np.linspace(-60, 60, 8) * (1 if index % 2 == 0 else -1)
    frames = 128 + ramp[:, None, None, None] + rng.normal(0, 8, (1, 32, 40, 3))
    return frames.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Corpus:
    """24 train and 12 test clips in groups of two; test holds one corrupt file, one short clip, one without label."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "videos").mkdir()
    rows, captions = [], []
    for index in range(36):
        split = "train" if index < 24 else "test"
        name = f"clip {index:02d}"
        path = folder / "videos" / f"{name}.mp4"
        write_video(path, brightness(index)[: 3 if index == 30 else 8], 8.0)
        label = None if index == 31 else ("rises", "falls")[index % 2]
        rows.append(
            {"id": name, "path": path, "end": 1.0, "fps": 8.0, "frames": 8, "width": 40, "height": 32, "codec": "h264",
             "label": label, "split": split, "group": f"group-{index // 2}"}
        )  # fmt: skip
        captions.append({"video": name, "text": f"It {'rises' if index % 2 == 0 else 'falls'}.", "source": "verb"})
        captions.append({"video": name, "text": f"grey number {index % 5}", "source": "subject"})
    Path(rows[32]["path"]).write_bytes(b"not a video any more")
    rows.append({"id": "gone", "path": folder / "gone.mp4", "split": "test", "label": "rises",
                 "status": "missing", "reason": "no such file"})  # fmt: skip
    return write_corpus(folder, "small", rows, captions)
