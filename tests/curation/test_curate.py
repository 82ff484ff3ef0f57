"""Planted black, still, blurred, cut and copied clips are found, and nothing else; what is dropped is not selected."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

import tubelet
from tubelet.cli import main
from tubelet.corpus import on_disk
from tubelet.corpus.index import index
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.curation.curate import FINDINGS, curate
from tubelet.errors import TubeletError
from tubelet.evaluations.features import choose_videos
from tubelet.inference.rows import Sources
from tubelet.loading.data import Data
from tubelet.runs.division import Division
from tubelet.video.writer import write_video

RATE, FRAMES, SIDE = 10, 20, 96
PLANTED = {
    "plain 0": (), "plain 1": (), "plain 2": (), "black": ("black",), "still": ("frozen",), "blurred": ("blurred",),
    "cut": ("shots",), "other walker": (), "walker": (),
    "copy of 0": ("duplicate",), "copy of the copy": ("duplicate",),
}  # fmt: skip


def scene(seed: int) -> np.ndarray:
    """A patchwork that moves on, a pixel a frame."""
    rng = np.random.default_rng(seed)
    wide = rng.integers(30, 226, (6, 8, 3)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    return np.stack([wide[:, number : number + SIDE] for number in range(FRAMES)])


def walked(row: int) -> np.ndarray:
    """Somebody who walks through what a still camera sees."""
    frames = np.repeat(scene(7)[:1], FRAMES, 0)
    for number in range(FRAMES):
        frames[number, row : row + 12, 3 * number : 3 * number + 8] = 0
    return frames


def blurred(frames: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(one).filter(ImageFilter.GaussianBlur(6))) for one in frames])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("curated")
    scenes = {
        "plain 0": scene(0), "plain 1": scene(1), "plain 2": scene(2), "black": np.full_like(scene(0), 3),
        "still": np.repeat(scene(3)[:1], FRAMES, 0), "blurred": blurred(scene(4)),
        "cut": np.concatenate([scene(5)[:9], scene(6)[9:]]),
        "other walker": walked(60), "walker": walked(20), "copy of 0": scene(0), "copy of the copy": scene(0),
    }  # fmt: skip
    rows = []
    for number, (name, frames) in enumerate(scenes.items()):
        write_video(folder / f"{number}.mp4", frames, RATE, crf=10 + 6 * name.startswith("copy"))
        rows.append(
            {"id": name, "path": folder / f"{number}.mp4", "end": 2.0, "fps": float(RATE), "frames": FRAMES,
             "width": SIDE, "height": SIDE, "split": "train", "label": "a" if number % 2 else None}
        )  # fmt: skip
    return write_corpus(folder / "corpus", "planted", rows, [{"video": "black", "text": "night"}])


def test_every_planted_finding_is_found_and_nothing_else(corpus):
    found = curate(corpus)
    assert {name: found.findings.get(name, ()) for name in PLANTED} == PLANTED
    assert found.duplicate_of == {"copy of 0": "plain 0", "copy of the copy": "plain 0"}
    assert found.looks["cut"].cuts == pytest.approx([0.9], abs=0.13)
    assert found.coverage == {"videos": 11, "usable": 11, "with a caption": 1, "with a label": 5}
    assert found.dropped == ()
    assert Corpus.open(corpus.folder).fingerprint() == corpus.fingerprint()
    frame = found.to_pandas().set_index("id")
    assert frame["keep"].all()
    assert frame.loc["copy of 0", "duplicate_of"] == "plain 0"


def test_dropped_rows_stay_in_the_table_and_no_command_selects_them_until_they_are_kept_again(corpus, monkeypatch):
    before = corpus.fingerprint()
    found = curate(corpus, drop=["black", "duplicate"])
    assert found.dropped == ("black", "copy of 0", "copy of the copy")
    opened = Corpus.open(corpus.folder)
    assert len(opened.videos) == 11
    assert {video.id for video in opened.select("all")} == set(PLANTED) - set(found.dropped)
    assert opened.fingerprint() != before
    assert "left out by keep: 3" in repr(opened)
    assert [row.id for row, _ in Sources.of([corpus.folder]).videos()] == [video.id for video in opened.select("all")]
    assert choose_videos(opened, "all", None, 0) == opened.select("all")
    labels = dict.fromkeys(PLANTED, "a") | {"plain 1": "b"}
    assert not {video.id for video in Division.of(opened, Data(split="all"), labels, 1.0, 0.0, 0).fit} & set(
        found.dropped
    )
    monkeypatch.setattr(on_disk, "LARGE", 0)
    assert list(Corpus.open(corpus.folder).select("train")) == opened.select("train")
    monkeypatch.undo()
    again = curate(opened, drop=[])
    assert again.findings == found.findings  # what was dropped is looked at too
    opened = Corpus.open(corpus.folder)
    assert len(opened.select("all")) == 11
    assert opened.fingerprint() == before


def test_a_second_look_opens_no_file(corpus, monkeypatch):
    before = curate(corpus)
    monkeypatch.setattr("tubelet.curation.curate.run_each", lambda look, videos, *limits: iter([None] * len(videos)))
    assert curate(corpus).looks == before.looks


def test_every_command_says_how_many_videos_are_left_out(corpus, capsys):
    curate(corpus, drop=["black", "frozen"])
    assert main(["captions", str(corpus.folder), "--samples", "0"]) == 0
    assert f"{corpus.folder}: 2 videos are left out" in capsys.readouterr().err
    curate(corpus, drop=[])
    assert main(["captions", str(corpus.folder), "--samples", "0"]) == 0
    assert "left out" not in capsys.readouterr().err


def test_shots_are_written_as_a_list_that_indexing_reads(corpus, tmp_path):
    found = curate(corpus)
    assert found.write_shots(tmp_path / "shots.csv") == len(PLANTED) + 1
    (cut,) = found.looks["cut"].cuts
    spans = [(video.start, video.end) for video in index(tmp_path / "shots.csv", tmp_path / "shots").videos]
    assert len(spans) == len(PLANTED) + 1
    assert sum(start == pytest.approx(cut, abs=0.06) for start, _ in spans) == 1


def test_the_command_writes_a_page_with_every_finding_and_says_how_many(corpus, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["curate", str(corpus.folder), "--out", str(page), "--drop", "frozen"]) == 0
    said = capsys.readouterr().out
    assert "2  duplicate:" in said
    assert "1 not kept" in said
    text = page.read_text()
    for name in ("black", "frozen", "blurred", "shots", "duplicate"):
        assert f'<section id="{name}">' in text
        assert FINDINGS[name] in text
    assert "like plain 0" in text
    assert main(["curate", str(corpus.folder), "--out", str(page), "--drop", "none"]) == 0
    (tmp_path / "other.html").write_text("mine")
    assert main(["curate", str(corpus.folder), "--out", str(tmp_path / "other.html")]) == 2
    assert (tmp_path / "other.html").read_text() == "mine"


def test_a_finding_that_does_not_exist_is_one_sentence(corpus):
    with pytest.raises(TubeletError, match="there is no finding 'ugly'"):
        tubelet.curate(corpus, drop=["ugly"])


def test_a_table_of_an_earlier_version_keeps_all_rows(corpus):
    assert all(video.keep is None for video in Corpus.open(corpus.folder).videos)
