"""The table of `tubelet embed` in databases: what docs/features.md says is run, where the packages are installed."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tubelet.inference.features import write_features
from tubelet.loading.data import Data
from tubelet.models.encoder import Vit
from tubelet.types import Clip
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "features.md"
NAMES = ["clip.mp4", *(f"{number}.mp4" for number in range(7))]


@pytest.fixture
def nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids by cosine similarity to clip.mp4, itself left out, in the folder of the table; one file is no video."""
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=1, heads=2).build(Clip(frames=4, size=32))
    (tmp_path / "videos").mkdir()
    for number, name in enumerate(NAMES):
        frames = np.random.default_rng(number).integers(0, 40 + 30 * (3 * number % 8), (8, 32, 32, 3), np.uint8)
        write_video(tmp_path / "videos" / name, frames, 8.0)
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    write_features(encoder, [tmp_path / "videos"], tmp_path / "features.parquet", Data(sampling=Sampling(stride=1)))
    monkeypatch.chdir(tmp_path)
    table = pd.read_parquet("features.parquet").set_index("id").loc[NAMES]
    features = np.stack(table["feature"])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    found = [NAMES[index] for index in np.argsort(-features @ features[0]) if index]
    assert found != NAMES[1:]  # the order of the table is no answer
    return found


def example(title: str) -> pd.DataFrame:
    """`nearest` of a piece of the page that was run here."""
    (source,) = re.findall(rf'```python title="{re.escape(title)}"\n(.*?)```', PAGE.read_text(), flags=re.DOTALL)
    names: dict[str, pd.DataFrame] = {}
    exec(source, names)
    return names["nearest"]


def test_the_nearest_clips_by_sql_are_those_by_numpy(nearest: list[str]) -> None:
    pytest.importorskip("duckdb")
    found = example("nearest.py")
    assert list(found["id"]) == nearest[:5]
    assert found["similarity"].is_monotonic_decreasing


def test_the_nearest_clips_in_lancedb_are_those_by_numpy(nearest: list[str]) -> None:
    pytest.importorskip("lancedb")
    found = example("lance.py")
    assert list(found["id"]) == ["clip.mp4", *nearest[:5]]
