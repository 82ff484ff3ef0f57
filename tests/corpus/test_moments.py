"""Moments of tables and official files: each is placed, or named with its line and what is wrong with it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.bars import moving
from tubelet import cli
from tubelet.corpus.index import index
from tubelet.corpus.pack import pack
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.video.writer import write_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of 4 seconds."""
    folder = tmp_path_factory.mktemp("moments") / "videos"
    for number, name in enumerate(("a", "v_b1", "P01_02")):
        folder.mkdir(exist_ok=True)
        write_video(folder / f"{name}.mp4", moving(20, 32, 48, 9 * number), 5.0)
    return folder


def placed(corpus: Corpus) -> list[tuple[Any, ...]]:
    return [(m.video, m.start, m.end, m.label) for m in corpus.moments]


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_gives_moments_in_any_form_of_time(videos: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "m.csv", "video,start,end,class", "a,0:01,2.5,jump", "videos/v_b1.mp4,500ms,1s,run")
    corpus = index(videos, tmp_path / "c", moments=path)
    assert placed(corpus) == [("a.mp4", 1.0, 2.5, "jump"), ("v_b1.mp4", 0.5, 1.0, "run")]
    assert any("m.csv: 2 rows used, 0 unused" in line for line in corpus.remarks)


def test_rows_that_cannot_be_placed_are_named_with_line_and_remedy(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table(
        tmp_path / "m.csv", "video,start,end,label", "a,1,2,jump", "zebra,1,2,jump", "a,3,2,jump", "a,9,10,jump",
        "a,soon,2,jump", "a,1,2,", "a,2,60,long",
    )  # fmt: skip
    corpus = index(videos, tmp_path / "c", moments=path)
    assert placed(corpus) == [("a.mp4", 1.0, 2.0, "jump"), ("a.mp4", 2.0, 4.0, "long")]
    said = "\n".join(corpus.remarks)
    assert "2 rows used, 5 unused" in said
    assert "end more than a second behind their video; they end with it" in said
    with pytest.raises(CorpusError, match="nothing was written"):
        index(videos, tmp_path / "strict", moments=path, strict=True)
    assert not (tmp_path / "strict").exists()
    for line, why in (
        ("zebra,1,2,x", "line 2: .*zebra"),
        ("a,3,2,x", r"line 2: its end \(2 s\) is not after its start \(3 s\); correct one of them"),
        ("a,9,10,x", r"line 2: a.mp4: it begins at 9 s, and the video ends at 4 s"),
        ("a,soon,2,x", "line 2: the moment: time 'soon' is no time; write seconds"),
        ("a,1,2,", "line 2: it has no label; name what happens"),
    ):
        one = table(tmp_path / "one.csv", "video,start,end,label", line)
        code = cli.main(["index", str(videos), "--out", str(tmp_path / "bad"), "--moments", str(one)])
        assert code == 2
        assert re.search(why, capsys.readouterr().err.replace("\n", " ")), line


def test_activitynet_files_are_read(videos: Path, tmp_path: Path) -> None:
    database = {
        "a": {"duration": 4.0, "subset": "training", "annotations": [{"segment": [0.5, 1.5], "label": "Jumping"}]},
        "b1": {"subset": "validation", "annotations": [{"segment": [2, 3.5], "label": "Running"}]},
        "lost": {"subset": "testing", "annotations": [{"segment": [2, 3], "label": "Running"}]},
        "none": {"subset": "testing"},
    }
    path = tmp_path / "activity_net.v1-3.min.json"
    path.write_text(json.dumps({"version": "VERSION 1.3", "taxonomy": [], "database": database}))
    corpus = index(videos, tmp_path / "c", moments=path)
    assert placed(corpus) == [("a.mp4", 0.5, 1.5, "Jumping"), ("v_b1.mp4", 2.0, 3.5, "Running")]
    assert any("1 unused (moment 3: " in line and "lost" in line for line in corpus.remarks)


def test_epic_kitchens_files_are_read_with_the_names_of_their_classes(videos: Path, tmp_path: Path) -> None:
    table(
        tmp_path / "EPIC_100_train.csv",
        "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,narration,verb,verb_class,noun,noun_class",
        "P01_02_0,P01,P01_02,00:00:00.50,00:00:01.25,take up a cup,take-up,0,cup,1",
        "P01_02_1,P01,P01_02,00:00:02.00,00:00:03.00,wash it,wash,1,it,9",
    )
    table(tmp_path / "EPIC_100_verb_classes.csv", "id,key", "0,take", "1,wash")
    table(tmp_path / "EPIC_100_noun_classes.csv", "id,key", "0,knife", "1,cup")
    path = tmp_path / "EPIC_100_train.csv"
    action = index(videos, tmp_path / "action", moments=path)
    assert placed(action) == [("P01_02.mp4", 0.5, 1.25, "take cup")]
    assert any("line 3: it has no label" in line for line in action.remarks)
    verb = index(videos, tmp_path / "verb", moments=path, target="verb")
    assert [moment.label for moment in verb.moments] == ["take", "wash"]


def test_ego4d_files_are_read_by_clip_or_by_whole_video(videos: Path, tmp_path: Path) -> None:
    label = {"primary": True, "label": "cut", "start_time": 0.5, "end_time": 1.0}
    whole = {"video_start_time": 2.5, "video_end_time": 3.0}
    aside = {**label, "primary": False, "label": "talk"}
    clips = [{"clip_uid": "a", "annotations": [{"labels": [label | whole, aside | whole]}]}]
    other = [{"clip_uid": "not-here", "annotations": [{"labels": [label | whole]}]}]
    path = tmp_path / "moments_train.json"
    path.write_text(json.dumps({"videos": [{"video_uid": "x", "clips": clips}, {"video_uid": "v_b1", "clips": other}]}))
    corpus = index(videos, tmp_path / "c", moments=path)
    assert placed(corpus) == [("a.mp4", 0.5, 1.0, "cut"), ("v_b1.mp4", 2.5, 3.0, "cut")]


def test_a_json_file_of_something_else_is_refused_with_what_it_needs(videos: Path, tmp_path: Path) -> None:
    for said in ({"videos": [{"uid": 1}]}, {"database": {"a": {"annotations": [{"label": "x"}]}}}, {}, []):
        path = tmp_path / "x.json"
        path.write_text(json.dumps(said))
        with pytest.raises(
            CorpusError, match=r"x.json is no file of moments: it needs `database`.*path,start,end,label"
        ):
            index(videos, tmp_path / "c", moments=path)


def test_segments_have_the_moments_that_reach_into_them(videos: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "m.csv", "video,start,end,label", "a.mp4,1.5,2.5,jump", "a.mp4,0.5,1,run")
    corpus = index(videos, tmp_path / "c", moments=path, segment="2s")
    assert placed(corpus) == [
        ("a.mp4#0", 0.5, 1.0, "run"), ("a.mp4#0", 1.5, 2.5, "jump"), ("a.mp4#2", 1.5, 2.5, "jump"),
    ]  # fmt: skip


def test_moments_stay_in_updates_and_packs_and_more_may_be_added(videos: Path, tmp_path: Path) -> None:
    first = table(tmp_path / "m.csv", "video,start,end,label", "a.mp4,1,2,jump")
    corpus = index(videos, tmp_path / "c", moments=first)
    assert placed(index([], tmp_path / "c", update=True)) == placed(corpus)
    more = table(tmp_path / "n.csv", "video,start,end,label", "a.mp4,1,2,jump", "a.mp4,0,1,run")
    grown = index([], tmp_path / "c", update=True, moments=more)
    assert placed(grown) == [("a.mp4", 0.0, 1.0, "run"), ("a.mp4", 1.0, 2.0, "jump")]
    assert placed(pack(grown, tmp_path / "packed").corpus) == placed(grown)
