"""From files to a corpus: every file is accounted for, nothing is written where the request is wrong."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest

import tubelet
from support.bars import FPS, HEIGHT, WIDTH, moving
from tubelet.corpus import look as module
from tubelet.corpus.index import index
from tubelet.corpus.listing import LISTS
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import assign_split
from tubelet.errors import CorpusError
from tubelet.jobs.failures import FAILED
from tubelet.jobs.runner import Limits, Running
from tubelet.video.writer import write_video

Run = Callable[..., tuple[int, str, str]]


def test_every_file_keeps_a_row_with_its_status(clips_folder: Path, tmp_path: Path, run: Run) -> None:
    code, out, _ = run(clips_folder, "--out", tmp_path / "c")
    assert code == 0
    table = pandas.read_parquet(tmp_path / "c" / "videos.parquet").set_index("id")
    assert len(table) == 13
    assert table.loc["broken/empty.mp4", ["status", "reason"]].tolist() == ["empty", "the file is empty"]
    assert table.loc["broken/cut.mp4", "status"] == "unreadable"
    assert table.loc["broken/text.avi", "reason"].startswith("cannot be opened")
    good = table[table["status"] == "ok"]
    assert sorted(good.index) == sorted(f"{d}/clip {n}.mp4" for d in ("up", "down") for n in range(5))
    assert set(good["frames"]) == {9, 20}
    about = good[["width", "height", "codec", "reason"]].drop_duplicates()
    assert about.to_numpy().tolist() == [[WIDTH, HEIGHT, "h264", ""]]
    np.testing.assert_allclose(good["fps"], FPS, rtol=1e-3)
    np.testing.assert_allclose(good["end"], good["frames"] / FPS, rtol=1e-3)
    assert good["group"].tolist() == good.index.tolist()
    assert [assign_split(group) for group in good["group"]] == good["split"].tolist()
    for part in (
        "13 rows, 10 ok",
        "unreadable: 2",
        "empty: 1",
        "median 2.0 s",
        "splits:",
        "pretrain videomae: an epoch of",
    ):
        assert part in out
    assert not list((tmp_path / "c").glob("*partial*"))


def test_labels_captions_groups_and_splits_arrive(clips_folder: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "labels.csv").write_text(
        "path,label,group,split\nup/clip 0.mp4,walk,g,test\nup/clip 1.mp4,run,g,\ndown/clip 0.mp4,walk,h,training\n"
    )
    (tmp_path / "captions.csv").write_text(
        'video,text,source,time\nup/clip 0.mp4,"a bar, walking",human,1.5\nup/clip 0.mp4,a walk,,\nclip 9,x,,\n'
    )
    options = ("--labels", tmp_path / "labels.csv", "--captions", tmp_path / "captions.csv", "--out", tmp_path / "c")
    code, _, err = run(clips_folder, *options, "--strict")
    assert (code, (tmp_path / "c").exists()) == (2, False)
    assert "captions.csv: 1 of 3 rows cannot be used (line 4: clip 9 is none of the videos)" in err
    (tmp_path / "captions.csv").write_text(
        'video,text,source,time\nup/clip 0.mp4,"a bar, walking",human,1.5\nup/clip 0.mp4,a walk,,\n'
    )
    code, out, _ = run(clips_folder, *options)
    assert code == 0
    corpus = Corpus.open(tmp_path / "c")
    rows = {video.id: video for video in corpus.videos}
    assert [rows[f"up/clip {n}.mp4"].label for n in range(3)] == ["walk", "run", None]
    assert (rows["up/clip 0.mp4"].split, rows["up/clip 0.mp4"].group) == ("test", "g")
    assert rows["up/clip 1.mp4"].split == "test", "the rest of a group joins the split that was given"
    assert rows["down/clip 0.mp4"].split == "train"
    assert [(c.text, c.source, c.time) for c in corpus.captions] == [
        ("a bar, walking", "human", 1.5), ("a walk", "caption", None),
    ]  # fmt: skip
    assert "classes: 2 (run 1, walk 2), 7 rows without" in out
    assert "captions: 2 of 1 video (caption 1, human 1)" in out
    assert "saliency text:" in out


def test_a_test_split_too_small_to_measure_on_is_said_and_a_split_column_mends_it(
    clips_folder: Path, tmp_path: Path, run: Run
) -> None:
    table = tmp_path / "splits.csv"
    for again, count in (((), 1), (("--update",), 5)):
        lines = [f"clip {number}.mp4,{'test' if number < count else 'train'}" for number in range(5)]
        table.write_text("\n".join(["path,split", *lines]))
        code, out, _ = run(clips_folder / "up", "--labels", table, *again, "--out", tmp_path / "c")
        assert code == 0
        assert ("test holds 1 video, too few to measure on: a split column" in out) == (count == 1)


def test_segments_are_rows_of_one_file(tmp_path: Path, run: Run) -> None:
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v" / "long.mp4", moving(34, HEIGHT, WIDTH), FPS)
    (tmp_path / "c.csv").write_text("path,caption,time\nlong.mp4,whole,\nlong.mp4,late,1.2\n")
    assert run(tmp_path / "v", "--segment", "1s", "--captions", tmp_path / "c.csv", "--out", tmp_path / "c")[0] == 0
    corpus = Corpus.open(tmp_path / "c")
    assert [video.id for video in corpus.videos] == ["long.mp4#0", "long.mp4#1", "long.mp4#2"]
    assert [video.frames for video in corpus.videos] == [10, 10, 14], "a short rest belongs to the segment before it"
    assert corpus.videos[2].end == pytest.approx(3.4, abs=1e-3)
    assert {(video.group, video.split, video.path) for video in corpus.videos} == {
        ("long.mp4", assign_split("long.mp4"), tmp_path / "v" / "long.mp4")
    }
    assert [(c.video, c.text) for c in corpus.captions] == [
        ("long.mp4#0", "whole"), ("long.mp4#1", "whole"), ("long.mp4#1", "late"), ("long.mp4#2", "whole"),
    ]  # fmt: skip


def test_segments_are_proposed_for_long_videos_in_one_line(tmp_path: Path, run: Run) -> None:
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v" / "long.mp4", moving(40, HEIGHT, WIDTH), 1)
    code, out, _ = run(tmp_path / "v", "--out", tmp_path / "c")
    assert code == 0
    assert [line for line in out.splitlines() if "--segment" in line] == [
        "  long videos: --segment 10s would make about 4 rows of them"
    ]


def test_spans_of_a_list_are_cut_to_what_the_file_holds(clips_folder: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "l.csv").write_text(
        f"path,start,end,label\n{clips_folder}/up/clip 0.mp4,0.5,1.5,x\n{clips_folder}/up/clip 0.mp4,1.8,9,y\n"
        f"{clips_folder}/up/clip 0.mp4,7,9,z\n{clips_folder}/gone.mp4,0,1,z\n"
    )
    assert run(tmp_path / "l.csv", "--out", tmp_path / "c")[0] == 0
    rows = Corpus.open(tmp_path / "c").videos
    assert [(v.id.split("/")[-1], v.frames, v.status, v.label) for v in rows] == [
        ("clip 0.mp4#0.5", 10, "ok", "x"), ("clip 0.mp4#1.8", 2, "ok", "y"),
        ("clip 0.mp4#7", 0, "empty", "z"), ("gone.mp4#0", 0, "missing", "z"),
    ]  # fmt: skip
    assert "no frame from 7 s" in rows[2].reason


def test_adding_videos_changes_no_row_that_is_there(clips_folder: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "v").mkdir()
    shutil.copytree(clips_folder / "up", tmp_path / "v" / "up")
    (tmp_path / "v" / "up" / "bad.mp4").write_text("not yet")
    assert run(tmp_path / "v", "--out", tmp_path / "c")[0] == 0
    before = Corpus.open(tmp_path / "c").videos
    shutil.copytree(clips_folder / "down", tmp_path / "v" / "a new folder that sorts first")
    shutil.copy(clips_folder / "up" / "clip 0.mp4", tmp_path / "v" / "up" / "bad.mp4")
    (tmp_path / "captions.csv").write_text("clip 1,a bar\nup/bad.mp4,another\n".replace("clip 1", "up/clip 1"))
    code, _, err = run(tmp_path / "v", "--out", tmp_path / "c")
    assert code == 2
    assert "is a corpus already (6 rows); add what is new to it with --update" in err
    assert Corpus.open(tmp_path / "c").videos == before
    again = ("--captions", tmp_path / "captions.csv", "--update", "--out", tmp_path / "c")
    for _ in range(2):
        assert run(tmp_path / "v", *again)[0] == 0
        after = Corpus.open(tmp_path / "c")
        assert [v for v in after.videos[:6] if v.id != "up/bad.mp4"] == [v for v in before if v.id != "up/bad.mp4"]
        assert len(after.videos) == 11
        mended = next(v for v in after.videos if v.id == "up/bad.mp4")
        assert (mended.status, mended.row) == ("ok", [v.id for v in before].index("up/bad.mp4"))
        assert [c.text for c in after.captions] == ["another", "a bar"]


def test_an_interrupted_call_goes_on_from_what_is_done(clips_folder: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, remark: str = "") -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index([clips_folder], tmp_path / "c", running=Running(Limits(workers=1)), progress=stop)
    assert [path.name for path in (tmp_path / "c").iterdir() if path.name != FAILED] == [module.LOOKED]
    seen: list[int] = []
    index([clips_folder], tmp_path / "c", progress=lambda done, total, remark="": seen.append(done))
    assert seen[0] == 4
    assert len(Corpus.open(tmp_path / "c").videos) == 13


def test_a_file_that_hangs_the_decoder_is_given_up(
    clips_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    real = module.probe
    monkeypatch.setattr(
        module, "probe", lambda path, **how: time.sleep(60) if path.name == "clip 3.mp4" else real(path)
    )
    monkeypatch.setattr("tubelet.jobs.pool.start_method", lambda: "fork")  # so that the workers hang too
    indexed = index([clips_folder / "up"], tmp_path / "c", running=Running(Limits(seconds=3.0)))
    hung = next(video for video in indexed.videos if video.id == "clip 3.mp4")
    assert (hung.status, hung.reason) == ("too slow", "took longer than 3 s")
    assert Counter(video.status for video in indexed.videos) == {"ok": 4, "too slow": 1}


def test_wrong_requests_end_with_one_line_and_write_nothing(clips_folder: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    (tmp_path / "two.csv").write_text("path,label\nup/clip 0.mp4,a\nup/clip 0.mp4,b\n")
    (tmp_path / "none.csv").write_text("path,weather\nup/clip 0.mp4,sun\n")
    out = ("--out", tmp_path / "c")
    for words, part in [
        ((tmp_path / "empty", *out), "no videos in"),
        ((tmp_path / "nothing", *out), "no file or folder"),
        ((clips_folder, "--out", tmp_path / "other"), "exists and is no corpus"),
        ((clips_folder, "--out", tmp_path / "other" / "thesis.txt"), "is a file"),
        ((clips_folder, *out, "--labels", tmp_path / "two.csv"), "two values of label: 'a' and 'b'"),
        ((clips_folder, *out, "--labels", tmp_path / "none.csv"), "has no column label, group or split"),
        ((clips_folder, *out, "--labels", tmp_path / "gone.csv"), "there is no file"),
        ((clips_folder, *out, "--segment", "soon"), "is no time"),
        ((clips_folder, *out, "--segment", "0"), "must be positive"),
        ((clips_folder, *out, "--captoins", "x"), "unknown option --captoins, did you mean --captions?"),
        ((clips_folder,), "--out"),
    ]:
        code, shown, err = run(*words)
        assert (code, shown.strip()) == (2, ""), words
        assert part in err, words
        assert err.count("\n") == 1, err
    assert not (tmp_path / "c").exists()
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]


def test_real_clips_are_all_accounted_for(real_data: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "few.csv").write_text(
        "path\n" + "".join(f"{real_data}/real-clips/fight/fi{n:03}.mp4\n" for n in range(1, 9))
    )
    code, out, _ = run(
        tmp_path / "few.csv", real_data / "captioned",
        "--captions", real_data / "captioned" / "captions.csv", "--out", tmp_path / "c",
    )  # fmt: skip
    assert code == 0
    corpus = Corpus.open(tmp_path / "c")
    assert (len(corpus.videos), len(corpus.select("all")), len(corpus.captions)) == (17, 17, 406)
    assert "ok with a remark: 1 (j2Dhf-xFUxU_13_20.avi: timestamps run backwards at 3 frames; put in order)" in out


def test_awkward_files_are_all_accounted_for(real_data: Path, tmp_path: Path) -> None:
    files = [p for p in (real_data / "awkward").rglob("*") if p.is_file() and p.suffix not in LISTS]
    corpus = index([real_data / "awkward"], tmp_path / "c")
    assert {video.path for video in corpus.videos} == set(files)
    assert all(video.reason for video in corpus.videos if video.status != "ok")
    assert Counter(video.status for video in corpus.videos) == {
        "ok": 67, "no video": 8, "encrypted": 4, "unreadable": 3, "empty": 2,
    }  # fmt: skip


def test_a_corpus_folder_is_needed_to_add_to(clips_folder: Path, tmp_path: Path) -> None:
    corpus = index([clips_folder / "up"], tmp_path / "c", update=True, name="mine")
    assert corpus.name == "mine"
    (corpus.folder / "corpus.json").write_text("[]")
    with pytest.raises(CorpusError, match="not that of a corpus"):
        index([clips_folder / "up"], tmp_path / "c", update=True)


def test_from_python_a_corpus_comes_back_and_nothing_is_printed(clips_folder: Path, tmp_path: Path, capsys) -> None:
    done: list[int] = []
    corpus = tubelet.index(
        clips_folder / "up", tmp_path / "c", segment="10s",
        progress=lambda count, total, what: done.append(count),
    )  # fmt: skip
    assert isinstance(corpus, tubelet.Corpus)
    assert corpus.folder == tmp_path / "c"
    assert done
    assert capsys.readouterr() == ("", "")
    with pytest.raises(tubelet.TubeletError, match="did you mean ucf101"):
        tubelet.index("lists", tmp_path / "d", dataset="ufc101", videos=clips_folder)
    assert not (tmp_path / "d").exists()


def test_from_python_a_tilde_is_the_home_folder(clips_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(clips_folder))
    corpus = tubelet.index("~/up", tmp_path / "c")
    assert {video.path.parent for video in corpus.videos} == {clips_folder / "up"}
