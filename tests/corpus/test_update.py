"""`index --update` looks at every row again: what changed, moved or is gone is said, and no label changes its file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from support.bars import FPS, HEIGHT, WIDTH, moving
from tubelet.corpus.table import Corpus, Video
from tubelet.video.reader import write_video

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(clips_folder: Path, tmp_path: Path, run: Run) -> Path:
    """Four labelled and captioned files in v/, as the corpus c."""
    (tmp_path / "v").mkdir()
    for number in range(4):
        shutil.copy(clips_folder / "up" / f"clip {number}.mp4", tmp_path / "v" / f"{number}.mp4")
    (tmp_path / "labels.csv").write_text(
        "".join(f"{n}.mp4,label {n},{'test' if n == 3 else 'train'}\n" for n in range(4))
    )
    (tmp_path / "labels.csv").write_text("path,label,split\n" + (tmp_path / "labels.csv").read_text())
    (tmp_path / "captions.csv").write_text("".join(f"{n}.mp4,caption {n}\n" for n in range(4)))
    tables = ("--labels", tmp_path / "labels.csv", "--captions", tmp_path / "captions.csv")
    assert run(tmp_path / "v", *tables, "--out", tmp_path / "c")[0] == 0
    return tmp_path


def rows(place: Path) -> dict[str, Video]:
    return {video.id: video for video in Corpus.open(place / "c").videos}


def update(place: Path, run: Run, *words: object) -> str:
    code, out, err = run(*words, "--update", "--out", place / "c")
    assert code == 0, err
    return out


def test_files_that_are_gone_changed_and_moved_are_marked_and_keep_their_labels(place: Path, run: Run) -> None:
    before = rows(place)
    (place / "v" / "0.mp4").unlink()
    write_video(place / "v" / "1.mp4", moving(15, HEIGHT, WIDTH, 3), FPS)
    (place / "v" / "sub").mkdir()
    (place / "v" / "2.mp4").rename(place / "v" / "sub" / "renamed.mp4")
    write_video(place / "v" / "new.mp4", moving(12, HEIGHT, WIDTH, 5), FPS)
    out = update(place, run, place / "v")
    now = rows(place)
    assert {name: video.status for name, video in now.items()} == {
        "0.mp4": "missing", "1.mp4": "ok", "2.mp4": "ok", "3.mp4": "ok", "new.mp4": "ok",
    }  # fmt: skip
    assert (now["1.mp4"].frames, now["2.mp4"].path) == (15, place / "v" / "sub" / "renamed.mp4")
    assert now["1.mp4"].content not in (None, before["1.mp4"].content)
    assert [now[f"{n}.mp4"].label for n in range(4)] == [f"label {n}" for n in range(4)]
    assert now["3.mp4"].split == "test"
    assert [c.text for c in Corpus.open(place / "c").captions] == [f"caption {n}" for n in range(4)]
    assert "looked at again: 1 unchanged, 1 changed, 1 moved, 1 missing, 1 new" in out
    assert "changed: 1.mp4: frames 20 -> 15" in out


def test_a_corpus_of_which_nothing_changed_stays_what_it_was(place: Path, run: Run) -> None:
    before, fingerprint = rows(place), Corpus.open(place / "c").fingerprint()
    assert "looked at again: 4 unchanged, 0 changed, 0 moved, 0 missing, 0 new" in update(place, run)
    assert Corpus.open(place / "c").fingerprint() == fingerprint
    assert rows(place) == before


def test_a_file_that_comes_back_is_found_again(place: Path, run: Run) -> None:
    (place / "v" / "0.mp4").rename(place / "aside.mp4")
    assert "1 missing" in update(place, run)
    (place / "aside.mp4").rename(place / "v" / "0.mp4")
    out = update(place, run)
    assert "4 unchanged, 0 changed, 0 moved, 0 missing" in out
    assert (rows(place)["0.mp4"].status, rows(place)["0.mp4"].frames) == ("ok", 20)


def test_two_files_that_swap_their_names_keep_their_own_labels(place: Path, run: Run) -> None:
    before = rows(place)
    for source, target in (("0", "x"), ("1", "0"), ("x", "1")):
        (place / "v" / f"{source}.mp4").rename(place / "v" / f"{target}.mp4")
    out = update(place, run, place / "v")
    now = rows(place)
    for name, other in (("0.mp4", "1.mp4"), ("1.mp4", "0.mp4")):
        assert (now[name].content, now[name].label) == (before[name].content, before[name].label)
        assert now[name].path == place / "v" / other
    assert "2 unchanged, 0 changed, 2 moved, 0 missing, 0 new" in out


def test_a_row_whose_file_was_replaced_by_another_rows_file_is_missing(place: Path, run: Run) -> None:
    (place / "v" / "1.mp4").replace(place / "v" / "0.mp4")
    assert "2 unchanged, 0 changed, 1 moved, 1 missing, 0 new" in update(place, run, place / "v")
    now = rows(place)
    assert (now["0.mp4"].status, now["1.mp4"].status, now["1.mp4"].path) == ("missing", "ok", place / "v" / "0.mp4")


def test_a_whole_corpus_moves_with_its_videos(place: Path, run: Run) -> None:
    (place / "v" / "deep").mkdir()
    (place / "v" / "3.mp4").rename(place / "v" / "deep" / "3.mp4")
    update(place, run, place / "v")
    fingerprint = Corpus.open(place / "c").fingerprint()
    (place / "v").rename(place / "elsewhere")
    assert "4 missing" in update(place, run)
    assert "0 unchanged, 0 changed, 4 moved, 0 missing, 0 new" in update(place, run, "--root", place / "elsewhere")
    assert all(video.path.is_relative_to(place / "elsewhere") for video in rows(place).values())
    assert Corpus.open(place / "c").fingerprint() == fingerprint


def test_only_reading_whole_files_finds_a_change_that_hides_its_size_and_time(place: Path, run: Run) -> None:
    path = place / "v" / "0.mp4"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "4 unchanged" in update(place, run)
    out = update(place, run, "--verify")
    assert "3 unchanged, 1 changed" in out
    assert "0.mp4: other content of the same length and size" in out


def test_a_touched_file_is_unchanged(place: Path, run: Run) -> None:
    os.utime(place / "v" / "0.mp4", ns=(1, 1))
    assert "4 unchanged" in update(place, run)
    assert rows(place)["0.mp4"].modified == 1


def test_a_label_for_a_file_that_is_gone_is_placed_nowhere(place: Path, run: Run) -> None:
    (place / "v" / "0.mp4").unlink()
    (place / "labels.csv").write_text("path,label\n0.mp4,other\n1.mp4,another\n")
    run(place / "v", "--labels", place / "labels.csv", "--update", "--out", place / "c")
    assert rows(place)["0.mp4"].label == "label 0"


def test_segments_are_looked_at_again_each_by_its_own_span(tmp_path: Path, run: Run) -> None:
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v" / "long.mp4", moving(34, HEIGHT, WIDTH), FPS)
    assert run(tmp_path / "v", "--segment", "1s", "--out", tmp_path / "c")[0] == 0
    write_video(tmp_path / "v" / "long.mp4", moving(24, HEIGHT, WIDTH, 7), FPS)
    out = update(tmp_path, run, tmp_path / "v", "--segment", "1s")
    assert "0 unchanged, 3 changed, 0 moved, 0 missing, 0 new" in out
    assert [(video.id, video.frames) for video in rows(tmp_path).values()] == [
        ("long.mp4#0", 10), ("long.mp4#1", 10), ("long.mp4#2", 4),
    ]  # fmt: skip


def test_a_corpus_of_an_earlier_version_is_looked_into_and_learns_its_digests(place: Path, run: Run) -> None:
    table = pyarrow.parquet.read_table(place / "c" / "videos.parquet")
    pyarrow.parquet.write_table(table.drop_columns(["content", "size", "modified"]), place / "c" / "videos.parquet")
    write_video(place / "v" / "1.mp4", moving(15, HEIGHT, WIDTH, 3), FPS)
    (place / "v" / "0.mp4").unlink()
    out = update(place, run, place / "v")
    assert "2 unchanged, 1 changed, 0 moved, 1 missing, 0 new" in out
    assert all(video.content for video in rows(place).values() if video.status == "ok")
