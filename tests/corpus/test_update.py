"""`index --update` looks at every row again: what changed, moved or is gone is said, and no label changes its file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from support.bars import FPS, HEIGHT, WIDTH, moving
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.video.writer import write_video

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def index(clips_folder: Path, tmp_path: Path, run: Run) -> Path:
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


def rows(index: Path) -> dict[str, Video]:
    return {video.id: video for video in Corpus.open(index / "c").videos}


def update(index: Path, run: Run, *words: object) -> str:
    code, out, err = run(*words, "--update", "--out", index / "c")
    assert code == 0, err
    return out


def test_files_that_are_gone_changed_and_moved_are_marked_and_keep_their_labels(index: Path, run: Run) -> None:
    before = rows(index)
    (index / "v" / "0.mp4").unlink()
    write_video(index / "v" / "1.mp4", moving(15, HEIGHT, WIDTH, 3), FPS)
    (index / "v" / "sub").mkdir()
    (index / "v" / "2.mp4").rename(index / "v" / "sub" / "renamed.mp4")
    write_video(index / "v" / "new.mp4", moving(12, HEIGHT, WIDTH, 5), FPS)
    out = update(index, run, index / "v")
    now = rows(index)
    assert {name: video.status for name, video in now.items()} == {
        "0.mp4": "missing", "1.mp4": "ok", "2.mp4": "ok", "3.mp4": "ok", "new.mp4": "ok",
    }  # fmt: skip
    assert (now["1.mp4"].frames, now["2.mp4"].path) == (15, index / "v" / "sub" / "renamed.mp4")
    assert now["1.mp4"].content not in (None, before["1.mp4"].content)
    assert [now[f"{n}.mp4"].label for n in range(4)] == [f"label {n}" for n in range(4)]
    assert now["3.mp4"].split == "test"
    assert [c.text for c in Corpus.open(index / "c").captions] == [f"caption {n}" for n in range(4)]
    assert "looked at again: 1 unchanged, 1 changed, 1 moved, 1 missing, 1 new" in out
    assert "changed: 1.mp4: frames 20 -> 15" in out


def test_a_corpus_of_which_nothing_changed_stays_what_it_was(index: Path, run: Run) -> None:
    before, fingerprint = rows(index), Corpus.open(index / "c").fingerprint()
    assert "looked at again: 4 unchanged, 0 changed, 0 moved, 0 missing, 0 new" in update(index, run)
    assert Corpus.open(index / "c").fingerprint() == fingerprint
    assert rows(index) == before


def test_a_file_that_comes_back_is_found_again(index: Path, run: Run) -> None:
    (index / "v" / "0.mp4").rename(index / "aside.mp4")
    assert "1 missing" in update(index, run)
    (index / "aside.mp4").rename(index / "v" / "0.mp4")
    out = update(index, run)
    assert "4 unchanged, 0 changed, 0 moved, 0 missing" in out
    assert (rows(index)["0.mp4"].status, rows(index)["0.mp4"].frames) == ("ok", 20)


def test_two_files_that_swap_their_names_keep_their_own_labels(index: Path, run: Run) -> None:
    before = rows(index)
    for source, target in (("0", "x"), ("1", "0"), ("x", "1")):
        (index / "v" / f"{source}.mp4").rename(index / "v" / f"{target}.mp4")
    out = update(index, run, index / "v")
    now = rows(index)
    for name, other in (("0.mp4", "1.mp4"), ("1.mp4", "0.mp4")):
        assert (now[name].content, now[name].label) == (before[name].content, before[name].label)
        assert now[name].path == index / "v" / other
    assert "2 unchanged, 0 changed, 2 moved, 0 missing, 0 new" in out


def test_a_row_whose_file_was_replaced_by_another_rows_file_is_missing(index: Path, run: Run) -> None:
    (index / "v" / "1.mp4").replace(index / "v" / "0.mp4")
    assert "2 unchanged, 0 changed, 1 moved, 1 missing, 0 new" in update(index, run, index / "v")
    now = rows(index)
    assert (now["0.mp4"].status, now["1.mp4"].status, now["1.mp4"].path) == ("missing", "ok", index / "v" / "0.mp4")


def test_a_whole_corpus_moves_with_its_videos(index: Path, run: Run) -> None:
    (index / "v" / "deep").mkdir()
    (index / "v" / "3.mp4").rename(index / "v" / "deep" / "3.mp4")
    update(index, run, index / "v")
    fingerprint = Corpus.open(index / "c").fingerprint()
    (index / "v").rename(index / "elsewhere")
    assert "4 missing" in update(index, run)
    assert "0 unchanged, 0 changed, 4 moved, 0 missing, 0 new" in update(index, run, "--root", index / "elsewhere")
    assert all(video.path.is_relative_to(index / "elsewhere") for video in rows(index).values())
    assert Corpus.open(index / "c").fingerprint() == fingerprint


def test_only_reading_whole_files_finds_a_change_that_hides_its_size_and_time(index: Path, run: Run) -> None:
    path = index / "v" / "0.mp4"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "4 unchanged" in update(index, run)
    out = update(index, run, "--verify")
    assert "3 unchanged, 1 changed" in out
    assert "0.mp4: other content of the same length and size" in out


def test_a_touched_file_is_unchanged(index: Path, run: Run) -> None:
    os.utime(index / "v" / "0.mp4", ns=(1, 1))
    assert "4 unchanged" in update(index, run)
    assert rows(index)["0.mp4"].modified == 1


def test_a_label_for_a_file_that_is_gone_is_placed_nowhere(index: Path, run: Run) -> None:
    (index / "v" / "0.mp4").unlink()
    (index / "labels.csv").write_text("path,label\n0.mp4,other\n1.mp4,another\n")
    run(index / "v", "--labels", index / "labels.csv", "--update", "--out", index / "c")
    assert rows(index)["0.mp4"].label == "label 0"


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


def test_a_segment_that_a_list_ends_elsewhere_ends_there_after_an_update(tmp_path: Path, run: Run) -> None:
    write_video(tmp_path / "long.mp4", moving(34, HEIGHT, WIDTH), FPS)
    (tmp_path / "list.csv").write_text("path,start,end,label\nlong.mp4,0,1,jump\nlong.mp4,1,2,run\n")
    assert run(tmp_path / "list.csv", "--out", tmp_path / "c")[0] == 0
    (tmp_path / "list.csv").write_text("path,start,end,label\nlong.mp4,0,1,jump\nlong.mp4,1,2.5,run\n")
    out = update(tmp_path, run, tmp_path / "list.csv")
    assert "1 unchanged, 1 changed, 0 moved, 0 missing, 0 new" in out
    found = {video.id: (video.end, video.frames, video.label) for video in rows(tmp_path).values()}
    assert found == {"long.mp4#0": (1.0, 10, "jump"), "long.mp4#1": (2.5, 15, "run")}


def test_a_corpus_of_an_earlier_version_is_looked_into_and_learns_its_digests(index: Path, run: Run) -> None:
    table = pyarrow.parquet.read_table(index / "c" / "videos.parquet")
    pyarrow.parquet.write_table(table.drop_columns(["content", "size", "modified"]), index / "c" / "videos.parquet")
    write_video(index / "v" / "1.mp4", moving(15, HEIGHT, WIDTH, 3), FPS)
    (index / "v" / "0.mp4").unlink()
    out = update(index, run, index / "v")
    assert "2 unchanged, 1 changed, 0 moved, 1 missing, 0 new" in out
    assert all(video.content for video in rows(index).values() if video.status == "ok")
