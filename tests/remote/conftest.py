from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bars import moving
from support.web import Served, serving
from tubelet.remote import ask, blocks
from tubelet.video.writer import write_video


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUBELET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept from other tests, and tries follow each other soon."""
    monkeypatch.setenv("TUBELET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ask, "STATES", {})
    monkeypatch.setattr(ask, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(blocks, "ADDED", [float("inf")])


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of two folders, one of them long, and what is no video."""
    folder = tmp_path_factory.mktemp("served") / "videos"
    for number, label in enumerate(("run", "run", "walk", "walk")):
        (folder / label).mkdir(parents=True, exist_ok=True)
        write_video(folder / label / f"clip {number}.mp4", moving(20, 40, 48, 10 * number), 10, gop=6)
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.fixture
def web(files: Path) -> Iterator[Served]:
    with serving(files) as served:
        yield served
