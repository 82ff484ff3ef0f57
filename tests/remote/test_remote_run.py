"""A run on a server is read from a copy of it: loaded, embedded with and measured; nothing is written back."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tubelet
from support.brightness import clip, data, small
from support.web import Served, serving
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.errors import RemoteError, RunError
from tubelet.runs.folder import run_folder

__all__ = ["clip", "data", "small"]


@pytest.fixture(scope="module")
def trained(small: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "run"
    words = ("clip.frames=4", "clip.size=32", "encoder.width=32", "encoder.depth=1", "encoder.heads=2", "batch=4")
    decoder = (
        "objectives.pixels.decoder.width=16",
        "objectives.pixels.decoder.depth=1",
        "objectives.pixels.decoder.heads=2",
    )
    more = ("data.cache=False", "data.workers=0", "evaluate_every=9")
    tubelet.pretrain("tiny", *words, *decoder, *more, on=small, out=folder, steps=2)
    return folder


@pytest.fixture
def served(trained: Path) -> Iterator[Served]:
    with serving(trained.parent) as served:
        yield served


def digest(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.md5(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_on_a_server_gives_the_encoder_and_the_features_of_the_folder(
    served: Served, trained: Path, small: Corpus
) -> None:
    url = f"{served.url}/run"
    before = digest(trained)
    remote, local = tubelet.load_encoder(url), tubelet.load_encoder(trained)
    assert all(torch.equal(a, b) for a, b in zip(remote.parameters(), local.parameters(), strict=True))
    video = small.videos[0].path
    assert torch.equal(tubelet.embed(url, video), tubelet.embed(trained, video))
    found = tubelet.evaluate(url, "knn", on=small)
    assert found.metrics == tubelet.Run(url).results["knn"].metrics
    assert digest(trained) == before
    served.clear()
    assert run_folder(url) == run_folder(url)
    assert not served.asked()


def test_commands_read_a_run_on_a_server_and_write_on_this_machine(
    served: Served, small: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "features.parquet"
    assert main(["embed", f"{served.url}/run", str(small.folder), "--out", str(table)]) == 0
    assert table.exists()
    assert main(["embed", f"{served.url}/run", str(small.folder), "--out", "s3://bucket/features.parquet"]) == 2
    assert "is in a store; give a folder of this machine" in capsys.readouterr().err


def test_what_is_no_run_is_named(served: Served) -> None:
    with pytest.raises(RemoteError, match=r"there is no http.*/nothing"):
        tubelet.load_encoder(f"{served.url}/nothing")
    (Path(served.folder or "") / "half").mkdir()
    (Path(served.folder or "") / "half/log.jsonl").touch()
    with pytest.raises(RunError, match=r"/half holds no recipe\.json"):
        tubelet.load_encoder(f"{served.url}/half")
