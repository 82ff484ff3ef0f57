"""Corpora pushed to a stand-in for the Hugging Face hub, and opened from it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tubelet
from support.hub import TOKEN, Hub, running_hub
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RunError
from tubelet.saliency_maps import Noise
from tubelet.stores.maps import Maps
from tubelet.video.reader import open_reader
from tubelet.video.writer import write_video

pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Videos that lie outside it, with labels, captions and maps of noise, and a file that is none."""
    folder = tmp_path_factory.mktemp("pushed")
    (folder / "videos").mkdir()
    (folder / "videos" / "broken.mp4").write_text("no video")
    rows = ["path,label,split,caption", "broken.mp4,run,train,A broken clip."]
    for number, label in enumerate(("run", "walk", "run")):
        frames = np.random.default_rng(number).integers(0, 256, (8, 32, 48, 3), np.uint8)
        write_video(folder / "videos" / f"clip {number}.mp4", frames, 8.0)
        rows.append(f"clip {number}.mp4,{label},{'test' if number == 2 else 'train'},Somebody {label}s.")
    (folder / "table.csv").write_text("\n".join(rows))
    made = tubelet.index(folder / "videos", folder / "c", labels=folder / "table.csv", captions=folder / "table.csv")
    tubelet.saliency(made, Noise())
    return Corpus.open(folder / "c")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub.constants as constants

    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        template = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("TUBELET_CACHE", str(tmp_path / "tubelet"))
        yield running


def says_the_same(one: Corpus, other: Corpus) -> None:
    assert one.name == other.name
    assert one.captions == other.captions
    for mine, yours in zip(one.videos, other.videos, strict=True):
        for name in ("id", "split", "label", "group", "status", "content", "frames", "keep"):
            assert getattr(mine, name) == getattr(yours, name), name


def has_the_same_maps(one: Corpus, other: Corpus) -> None:
    mine, yours = Maps.open(one, "noise"), Maps.open(other, "noise")
    for video, theirs in zip(one.select("all"), other.select("all"), strict=True):
        for a, b in zip(mine.layers(video), yours.layers(theirs), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_corpus_pushed_with_its_videos_opens_from_the_hub_and_is_equal(corpus: Corpus, hub: Hub, capsys) -> None:
    assert main(["push", str(corpus.folder), "lab/clips", "--videos", "--license", "cc-by-4.0"]) == 0
    assert f"pushed: {hub.address}/datasets/lab/clips" in capsys.readouterr().out
    there = Corpus.open("hf://datasets/lab/clips")
    says_the_same(corpus, there)
    has_the_same_maps(corpus, there)
    with open_reader(there.select("test")[0].path) as far, open_reader(corpus.select("test")[0].path) as near:
        np.testing.assert_array_equal(far.frames(far.times[:3]), near.frames(near.times[:3]))


def test_without_videos_none_is_pushed_and_who_has_the_files_has_an_equal_corpus(
    corpus: Corpus, hub: Hub, tmp_path: Path
) -> None:
    import huggingface_hub

    pushed = tubelet.push(corpus, "lab/captions")
    assert not [name for name in pushed.files if name.endswith(".mp4") or "trained_on" in name]
    assert set(hub.repositories["datasets/lab/captions"]) - {".gitattributes"} == set(pushed.files)
    says_the_same(corpus, Corpus.open("hf://datasets/lab/captions"))
    huggingface_hub.snapshot_download("lab/captions", repo_type="dataset", local_dir=tmp_path / "copy")
    copy = Corpus.open(tmp_path / "copy")
    for mine, theirs in zip(corpus.videos, copy.videos, strict=True):
        theirs.path.parent.mkdir(exist_ok=True)
        shutil.copy(mine.path, theirs.path)
    assert copy.fingerprint() == corpus.fingerprint()
    has_the_same_maps(corpus, copy)


def test_no_folder_of_this_machine_is_in_a_pushed_corpus(corpus: Corpus, hub: Hub) -> None:
    tubelet.push(corpus, "lab/quiet", videos=True)
    files = hub.repositories["datasets/lab/quiet"]
    home = str(corpus.folder.parent).encode()
    for name, content in files.items():
        assert home not in content, name  # of text; Parquet is compressed
        if name.endswith(".parquet"):
            (corpus.folder.parent / "read.parquet").write_bytes(content)
            frame = pd.read_parquet(corpus.folder.parent / "read.parquet")
            assert home.decode() not in frame.astype(str).to_csv(), name


def test_the_card_of_a_corpus_says_what_is_in_it_and_where_its_tables_are(corpus: Corpus, hub: Hub) -> None:
    tubelet.push(corpus, "lab/card", license="cc-by-4.0")
    card = hub.repositories["datasets/lab/card"]["README.md"].decode()
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    for said in (
        "  data_files: captions.parquet", "3 videos", "test 1, train 2; 3 groups", "1 row more cannot be used",
        "2: run, walk.",
        "| caption | 4 |", "noise: Arrow files", "videos are not in this repository",
        'tubelet.Corpus.open("hf://datasets/lab/card")',
    ):  # fmt: skip
        assert said in card, said


def test_a_dry_run_of_a_corpus_sends_nothing(corpus: Corpus, hub: Hub, capsys) -> None:
    assert main(["push", str(corpus.folder), "lab/none", "--videos", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "videos/clip 0.mp4" in out
    assert "nothing was uploaded" in out
    assert hub.requests == []


def test_folders_of_pictures_are_refused_with_the_command_that_makes_files_of_them(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "stills").mkdir()
    row = {"id": "stills", "path": tmp_path / "stills", "end": 1.0, "frames": 8}
    made = tubelet.corpus.write.write_corpus(tmp_path / "c", "stills", [row])
    with pytest.raises(CorpusError, match="tubelet pack"):
        tubelet.push(made, "lab/stills", videos=True)
    with pytest.raises(RunError, match="no decoder"):
        tubelet.push(made, "lab/stills", decoder=True)
    assert hub.requests == []
