"""The corpus folder: what is written is what is read, by us and by anyone."""

import json
from pathlib import Path

import pandas
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.corpus.schema import CAPTIONS, VIDEOS
from tubelet.corpus.table import Corpus, normalise_text, number_texts
from tubelet.corpus.write import assign_split, write_corpus
from tubelet.errors import CorpusError

ROWS = [
    {"id": "a/one.mp4", "path": "videos/one.mp4", "label": "walk", "end": 2.0, "frames": 50},
    {"id": "b/one.mp4", "path": "/elsewhere/one.mp4", "label": "run", "split": "test", "group": "g"},
    {"id": "c.mp4", "path": "videos/c.mp4", "status": "empty", "reason": "the file is empty"},
]
TEXTS = [
    {"video": "a/one.mp4", "text": "Someone walks.", "source": "human", "time": 1.5},
    {"video": "a/one.mp4", "text": "a walk"},
]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", "mine", ROWS, TEXTS, {"note": "x"})
    again = Corpus.open(tmp_path / "c")
    assert again.name == corpus.name == "mine"
    assert again.about["note"] == "x"
    first, second, third = again.videos
    assert (first.row, first.id, first.label, first.frames, first.duration) == (0, "a/one.mp4", "walk", 50, 2.0)
    assert first.path == tmp_path / "c" / "videos" / "one.mp4"
    assert second.path == Path("/elsewhere/one.mp4")
    assert (second.split, second.group, first.group) == ("test", "g", "a/one.mp4")
    assert (third.label, third.status, third.reason) == (None, "empty", "the file is empty")
    assert [c.text for c in again.captions_of(first)] == ["Someone walks.", "a walk"]
    assert [(c.source, c.time) for c in again.captions] == [("human", 1.5), ("caption", None)]
    assert [c.row for c in again.captions_of(first, "caption")] == [1]
    assert again.labels == ["run", "walk"]
    assert again.sources == ["caption", "human"]


def test_the_tables_open_in_pandas_with_their_columns(tmp_path: Path) -> None:
    write_corpus(tmp_path, "mine", ROWS, TEXTS)
    videos = pandas.read_parquet(tmp_path / "videos.parquet")
    assert list(videos.columns) == VIDEOS.names
    assert set(VIDEOS.names) >= set("id path start end duration fps frames width height codec".split())  # noqa: SIM905
    assert videos["status"].tolist() == ["ok", "ok", "empty"]
    captions = pandas.read_parquet(tmp_path / "captions.parquet")
    assert list(captions.columns) == CAPTIONS.names == ["video", "text", "source", "time", "model", "prompt"]
    assert json.loads((tmp_path / "corpus.json").read_text())["format"] == 1


def test_only_usable_videos_are_selected(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, "mine", ROWS)
    assert [v.id for v in corpus.select("test")] == ["b/one.mp4"]
    assert {v.id for v in corpus.select("all")} == {"a/one.mp4", "b/one.mp4"}
    assert corpus.select("nothing") == []


def test_a_corpus_may_be_moved(tmp_path: Path) -> None:
    before = write_corpus(tmp_path / "here", "mine", ROWS, TEXTS).fingerprint()
    (tmp_path / "here").rename(tmp_path / "there")
    moved = Corpus.open(tmp_path / "there")
    assert moved.videos[0].path == tmp_path / "there" / "videos" / "one.mp4"
    assert moved.fingerprint() == before


def test_the_fingerprint_follows_what_the_tables_say(tmp_path: Path) -> None:
    first = write_corpus(tmp_path / "1", "mine", ROWS, TEXTS).fingerprint()
    assert write_corpus(tmp_path / "2", "other name", ROWS, TEXTS).fingerprint() == first
    changed = [{**ROWS[0], "label": "jump"}, *ROWS[1:]]
    assert write_corpus(tmp_path / "3", "mine", changed, TEXTS).fingerprint() != first
    assert write_corpus(tmp_path / "4", "mine", ROWS, TEXTS[:1]).fingerprint() != first


def test_mistakes_in_the_rows_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="same id"):
        write_corpus(tmp_path / "c", "mine", [ROWS[0], ROWS[0]])
    with pytest.raises(CorpusError, match="unknown videos, first 'nobody'"):
        write_corpus(tmp_path / "c", "mine", ROWS, [{"video": "nobody", "text": "x"}])
    with pytest.raises(ValueError, match="no column"):
        write_corpus(tmp_path / "c", "mine", [{**ROWS[0], "colour": "red"}])
    assert not (tmp_path / "c").exists()


def test_what_is_no_corpus_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="`tubelet index"):
        Corpus.open(tmp_path / "none")
    with pytest.raises(CorpusError, match="`tubelet index"):
        Corpus.open(tmp_path)
    corpus = write_corpus(tmp_path / "c", "mine", ROWS)
    (corpus.folder / "captions.parquet").unlink()
    with pytest.raises(CorpusError, match=r"captions\.parquet is missing or damaged"):
        _ = Corpus.open(corpus.folder).captions
    (corpus.folder / "videos.parquet").write_bytes(b"no parquet")
    with pytest.raises(CorpusError, match=r"videos\.parquet is missing or damaged"):
        _ = Corpus.open(corpus.folder).videos
    (corpus.folder / "corpus.json").write_text('{"format": 99, "name": "x"}')
    with pytest.raises(CorpusError, match="format 99"):
        Corpus.open(corpus.folder)
    (corpus.folder / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match="cannot be read"):
        Corpus.open(corpus.folder)


def test_extra_columns_of_a_user_do_no_harm(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, "mine", ROWS)
    table = pyarrow.parquet.read_table(tmp_path / "videos.parquet")
    table = table.append_column("weather", [["sun"] * len(ROWS)])
    pyarrow.parquet.write_table(table, tmp_path / "videos.parquet")
    assert Corpus.open(tmp_path).videos == corpus.videos


def test_a_fifth_of_the_groups_of_every_class_is_held_out() -> None:
    for label in ("walk", "run"):
        splits = [assign_split(f"{label}/{number}") for number in range(2000)]
        assert 0.175 < splits.count("test") / 2000 < 0.225


names = st.sets(st.integers(0, 99).map(str), min_size=1, max_size=9)


@settings(max_examples=15, deadline=None)
@given(groups=names, more=names)
def test_adding_videos_moves_no_old_one(
    tmp_path_factory: pytest.TempPathFactory, groups: set[str], more: set[str]
) -> None:
    def splits(some: list[str]) -> dict[str, str]:
        rows = [{"id": f"{group}/{n}.mp4", "path": "x", "group": group} for group in some for n in (0, 1)]
        videos = write_corpus(tmp_path_factory.mktemp("c"), "mine", rows).videos
        found = {(video.group, video.split) for video in videos}
        assert len(found) == len(some), "a group lies in two splits"
        return dict(found)

    before, after = splits(sorted(groups)), splits(sorted(groups | more, reverse=True))
    assert all(after[group] == split for group, split in before.items())


def test_texts_that_differ_in_dress_alone_are_one() -> None:
    assert normalise_text("  A  Dog\truns. ") == normalise_text("a dog runs") == "a dog runs"
    assert normalise_text("A dog, runs!") == "a dog, runs"
    assert normalise_text("ＤＯＧ") == "dog"
    assert normalise_text("a cat") != normalise_text("a dog")


def test_texts_are_numbered_by_first_appearance(tmp_path: Path) -> None:
    texts = [{"video": "a/one.mp4", "text": text} for text in ("b", "a", "B.", "c")]
    corpus = write_corpus(tmp_path, "mine", ROWS, texts)
    assert number_texts(corpus.captions) == {"b": 0, "a": 1, "c": 2}


def test_a_corpus_gives_its_tables_as_data_frames(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, "mine", ROWS, TEXTS)
    videos = corpus.to_pandas()
    assert videos["id"].tolist() == [video.id for video in corpus.videos]
    assert videos["path"].tolist() == [str(video.path) for video in corpus.videos]
    assert corpus.to_pandas("captions")["text"].tolist() == ["Someone walks.", "a walk"]


def test_a_corpus_says_what_it_holds_and_no_name_of_it_becomes_html(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", "<b>mine</b>", [{**row, "split": "train"} for row in ROWS], TEXTS)
    assert repr(corpus).splitlines() == [
        f"Corpus <b>mine</b> in {tmp_path / 'c'}",
        "  videos: 3, usable: train 2",
        "  not usable: empty 1",
        "  classes: 2",
        "  captions: 2 (caption 1, human 1)",
    ]
    page = corpus._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;mine&lt;/b&gt;" in page
    (tmp_path / "c" / "videos.parquet").unlink()
    assert "missing or damaged" in repr(Corpus.open(tmp_path / "c"))
