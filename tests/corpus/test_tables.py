"""Tables and lists that say something else than they seem to: read right, or refused by line with nothing written."""

import io
import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest

from tubelet.corpus.annotations import look_alikes
from tubelet.corpus.schema import file_id
from tubelet.corpus.table import Corpus
from tubelet.corpus.tables import from_parquet, name_columns
from tubelet.video.writer import write_video

Index = Callable[..., tuple[int, str, str]]
CLIPS = ("c00.mp4", "c01.mp4", "c02.mp4", "b/jump/001.mp4")


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8), 8.0)
    return path


@pytest.fixture
def clips(clip_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes `clips/` of these names in the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> Path:
        for name in names or CLIPS:
            path = tmp_path / "clips" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(clip_file.read_bytes())
        return tmp_path / "clips"

    return make


def labels() -> dict[str, str | None]:
    return {video.id: video.label for video in Corpus.open("c").videos if video.label is not None}


def refused(result: tuple[int, str, str], *parts: str) -> None:
    """One line on stderr with all of these, and nothing written."""
    code, out, err = result
    assert (code, out.strip(), err.count("\n")) == (2, "", 1), (out, err)
    for part in parts:
        assert part in err, err
    assert not Path("c").exists()


def test_a_label_for_a_file_of_another_folder_lands_on_no_video(clips: Callable[..., Path], run: Index) -> None:
    clips()
    Path("labels.csv").write_text("path,label\na/run/001.mp4,run\n")
    words = ("clips", "--labels", "labels.csv", "--out", "c")
    refused(run(*words), "line 2: a/run/001.mp4 is none of the videos, did you mean b/jump/001.mp4?")
    Path("labels.csv").write_text("path,label\na/run/001.mp4,run\nb/jump/001.mp4,jump\n")
    code, out, _ = run(*words)
    assert code == 0
    assert labels() == {"b/jump/001.mp4": "jump"}
    assert "labels.csv: 1 row used, 1 unused (line 2: a/run/001.mp4 is none of the videos" in out


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("jump/001.mp4", True),  # the end of one path only
        ("001", True),
        ("jump/001", True),
        ("clips/b/jump/001.mp4", True),
        ("./b/./jump/001.mp4", True),
        ("b\\jump\\001.mp4", True),
        ("run/001.mp4", False),
        ("ump/001.mp4", False),  # parts are whole
        ("jump/001.avi", False),
        ("Jump/001.mp4", False),
        ("/elsewhere/b/jump/001.mp4", False),
        ("train/b/jump/001.mp4", False),
    ],
)
def test_a_name_means_the_video_whose_path_ends_in_it_and_none_that_contradicts(
    clips: Callable[..., Path], run: Index, name: str, meant: bool
) -> None:
    clips()
    Path("labels.csv").write_text(f"path,label\n{name},jump\nc00.mp4,stand\n")
    assert run("clips", "--labels", "labels.csv", "--out", "c")[0] == 0
    assert labels() == {"c00.mp4": "stand", **({"b/jump/001.mp4": "jump"} if meant else {})}


@pytest.mark.parametrize(
    ("option", "text", "line", "lost"),
    [
        ("captions", "path,caption\nc00.mp4,a man, wearing a hat, walks\nc01.mp4,he sits\n", 2, "wearing a hat"),
        ("captions", "path;caption\nc01.mp4;he sits\nc00.mp4;a man; in red\n", 3, "in red"),
        ("captions", "path\tcaption\nc00.mp4\ta man\tin red\n", 2, "in red"),
        ("captions", "c00.mp4,a man, in red\nc01.mp4,he sits\n", 1, "in red"),
        ("captions", "c00.mp4,a man, in red\nc01.mp4,a dog, in blue\n", 1, "in red"),
        ("captions", "video,sentence,source\nc00.mp4,a man, in red,me\nc01.mp4,a dog,me\n", 2, "'me'"),
        ("labels", "path,label\nc01.mp4,sit\n\nc00.mp4,run, fast\n", 4, "fast"),
        ("labels", "path|label\nc00.mp4|run|fast\n", 2, "fast"),
        ("labels", "c00.mp4,run, fast\nc01.mp4,sit\n", 1, "fast"),
    ],
)
def test_a_cell_beyond_the_header_is_named_with_its_line_and_nothing_is_written(
    clips: Callable[..., Path], run: Index, option: str, text: str, line: int, lost: str
) -> None:
    clips()
    Path("table.csv").write_text(text)
    refused(run("clips", f"--{option}", "table.csv", "--out", "c"), f"table.csv line {line} has", lost, "double quotes")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("c00.mp4 0\nc01.mp4 1\n", {"c00.mp4": "0", "c01.mp4": "1"}),
        ("c00.mp4\t007\nc01.mp4\t1e3\n", {"c00.mp4": "007", "c01.mp4": "1e3"}),
        ("path label\nc00.mp4 run\nc01.mp4 sit\n", {"c00.mp4": "run", "c01.mp4": "sit"}),
        ("c00.mp4 4 2\nc01.mp4 9 3\n", {"c00.mp4": "2", "c01.mp4": "3"}),
        ("c00.mp4 0 4 2\nc01.mp4 0 -1 3\n", {"c00.mp4": "2", "c01.mp4": "3"}),
        ("c00 4 2\nb/jump/001 9 3\n", {"c00.mp4": "2", "b/jump/001.mp4": "3"}),
    ],
)
def test_labels_in_the_lists_of_videomae_and_rawframes_are_read(
    clips: Callable[..., Path], run: Index, text: str, found: dict[str, str]
) -> None:
    clips()
    Path("labels.csv").write_text(text)
    assert run("clips", "--labels", "labels.csv", "--out", "c")[0] == 0
    assert labels() == found


@pytest.mark.parametrize(
    ("option", "text", "parts"),
    [
        ("labels", "path,label\nc00.mp4;run\nc01.mp4;sit\n", ("line 2", "semicolons", "commas")),
        ("labels", "path;label\nc00.mp4;run\nc01.mp4,sit\n", ("line 3", "semicolons", "commas")),
        ("captions", "path,caption\nc00.mp4\ta man\n", ("line 2", "tabs", "commas")),
        ("labels", "", ("is empty",)),
        ("labels", "path,label\n", ("a header and no row",)),
        ("captions", "path,caption\n\n", ("a header and no row",)),
        ("labels", "path,weather\nc00.mp4,sun\n", ("no column label, group or split", "path, weather")),
        ("labels", "path,label\nc00.mp4,\nc01.mp4,\n", ("says nothing of these videos", "line 2")),
        ("labels", "path,label\nx.mp4,run\ny.mp4,sit\n", ("none of them used", "line 2: x.mp4", "line 3: y.mp4")),
        ("labels", "c00.mp4,train\nc01.mp4,test\n", ("names splits", "path,split")),
        ("labels", 'path,label\nc00.mp4,"run\nc01.mp4,sit\n', ("line 2", "never closed")),
        ("labels", 'path,label\nc00.mp4,"run\nc01.mp4,sit"\n', ("line 2", "takes in the lines below")),
        ("labels", 'path,label\nc01.mp4,sit\nc00.mp4,"run" fast\n', ("line 3", "quotation mark")),
        ("labels", "path,label,label\nc00.mp4,run,sit\n", ("two columns 'label'",)),
        ("labels", '{"c00.mp4": "run"}', ("is JSON",)),
        ("labels", "<!DOCTYPE html>\n<html></html>\n", ("is a web page",)),
    ],
)
def test_a_table_that_gives_no_video_anything_is_an_error(
    clips: Callable[..., Path], run: Index, option: str, text: str, parts: tuple[str, ...]
) -> None:
    clips()
    Path("table.csv").write_text(text)
    refused(run("clips", f"--{option}", "table.csv", "--out", "c"), "table.csv", *parts)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("c00.mp4 0 -1\nc01.mp4 0 -1\n", {}),
        ("c00.mp4,0,-1\nc01.mp4,0,-1\n", {}),
        ("c00.mp4 1 4\nc01.mp4 1 4\n", {}),
        ("c00.mp4 0 -1 run\nc01.mp4 0 -1 sit\n", {"c00.mp4": "run", "c01.mp4": "sit"}),
        ("c00.mp4 0 4 2\nc01.mp4 0 4 3\n", {"c00.mp4": "2", "c01.mp4": "3"}),
        ("c00.mp4 4 2\nc01.mp4 9 3\n", {"c00.mp4": "2", "c01.mp4": "3"}),
    ],
)
def test_a_list_of_first_frames_and_counts_makes_no_classes_of_them(
    clips: Callable[..., Path], run: Index, text: str, found: dict[str, str]
) -> None:
    folder = clips()
    (folder / "list.txt").write_text(text)
    code, out, _ = run("clips/list.txt", "--out", "c")
    assert code == 0
    assert labels() == found
    assert [video.id for video in Corpus.open("c").videos] == ["c00.mp4", "c01.mp4"]
    assert "list.txt: 2 rows used, 0 unused" in out


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("c00.mp4 -1\nc01.mp4 -1\n", ("every label is -1",)),
        ("c00.mp4 30 64 2\nc01.mp4 0 64 3\n", ("line 1 begins at frame 30", "start,end")),
        ("c00.mp4 0 9\nc01.mp4 20 3\n", ("line 2", "first frames")),
        ("c00.mp4 2 5 run fast\n", ("line 1", "one label may")),
        ("c00.mp4,1,2,3,4\n", ("line 1 has 5 cells",)),
    ],
)
def test_a_list_that_could_mean_several_things_is_refused_by_line(
    clips: Callable[..., Path], run: Index, text: str, parts: tuple[str, ...]
) -> None:
    folder = clips()
    (folder / "list.txt").write_text(text)
    refused(run("clips/list.txt", "--out", "c"), "list.txt", *parts)


def test_labels_of_a_list_for_pretraining_are_refused_and_minus_one_beside_others_is_said(
    clips: Callable[..., Path], run: Index
) -> None:
    clips()
    words = ("clips", "--labels", "labels.csv", "--out", "c")
    for text in ("c00.mp4 0 -1\nc01.mp4 0 -1\n", "c00.mp4,0,-1\nc01.mp4,0,-1\n", "path,label\nc00.mp4,-1\n"):
        Path("labels.csv").write_text(text)
        refused(run(*words), "labels.csv", "label")
    Path("labels.csv").write_text("path,label\nc00.mp4,-1\nc01.mp4,1\n")
    code, out, _ = run(*words)
    assert (code, labels()) == (0, {"c00.mp4": "-1", "c01.mp4": "1"})
    assert "1 row with the label -1, a class like any other here" in out


@pytest.mark.parametrize(("option", "column"), [("labels", "label"), ("captions", "caption")])
def test_one_absent_video_is_counted_and_named_and_refused_only_where_asked(
    clips: Callable[..., Path], run: Index, option: str, column: str
) -> None:
    clips()
    Path("table.csv").write_text(f"path,{column}\nc00.mp4,run\ngone.mp4,sit\nc01.mp4,sit\n")
    words = ("clips", f"--{option}", "table.csv", "--out", "c")
    code, out, err = run(*words)
    assert code == 0, err
    assert "table.csv: 2 rows used, 1 unused (line 3: gone.mp4 is none of the videos)" in out
    corpus = Corpus.open("c")
    assert len(corpus.captions if option == "captions" else labels()) == 2
    shutil.rmtree("c")
    refused(run(*words, "--strict"), "1 of 3 rows cannot be used (line 3: gone.mp4 is none of the videos)")


def test_two_values_for_one_video_name_both_lines_wherever_they_stand(clips: Callable[..., Path], run: Index) -> None:
    folder = clips()
    Path("labels.csv").write_text("path,label\nc00.mp4,run\nc01.mp4,sit\nclips/c00.mp4,sit\n")
    words = ("clips", "--labels", "labels.csv", "--out", "c")
    refused(run(*words), "two values of label: 'run' and 'sit' (lines 2 and 4)")
    (folder / "list.csv").write_text("path,split\nc00.mp4,train\nc01.mp4,test\nc00.mp4,test\n")
    refused(run("clips/list.csv", "--out", "c"), "line 4 (after line 2)", "split 'test'", "'train'")
    (folder / "list.csv").write_text("path,label\nc00.mp4,run\nc01.mp4,sit\n")
    Path("labels.csv").write_text("path,label\nc01.mp4,run\n")
    refused(run("clips/list.csv", "--labels", "labels.csv", "--out", "c"), "c01.mp4 has two values of label")


def test_every_encoding_of_a_spreadsheet_is_read_or_named(clips: Callable[..., Path], run: Index) -> None:
    clips()
    words = ("clips", "--labels", "labels.csv", "--out", "c")
    book = io.BytesIO()
    with zipfile.ZipFile(book, "w") as file:
        file.writestr("xl/workbook.xml", "")
    sheet = io.BytesIO()
    with zipfile.ZipFile(sheet, "w") as file:
        file.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    for content, name in (
        (book.getvalue(), "an Excel workbook (xlsx)"), (sheet.getvalue(), "an OpenDocument file (ods)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook"), (b"PAR1", "a Parquet file"),
        (b"\x1f\x8b\x08", "compressed"),
    ):  # fmt: skip
        Path("labels.csv").write_bytes(content)
        refused(run(*words), name)
    text = "path,label\nc00.mp4,größe\n"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32", "latin-1", "utf-8"):
        Path("labels.csv").write_bytes(text.encode(encoding))
        code, out, err = run(*words, *(("--update",) if Path("c").exists() else ()))
        assert (code, labels()) == (0, {"c00.mp4": "größe"}), (encoding, err)
        assert ("read as Windows-1252" in out) == (encoding == "latin-1")


def test_composed_and_decomposed_names_are_one(clips: Callable[..., Path], run: Index) -> None:
    clips(unicodedata.normalize("NFD", "übung/café.mp4"), unicodedata.normalize("NFC", "spaß/größe.mp4"))
    Path("labels.csv").write_text(
        "path,label\n"
        + unicodedata.normalize("NFC", "übung/café.mp4,run\n")
        + unicodedata.normalize("NFD", "größe.mp4,sit\n"),
        encoding="utf-8",
    )
    code, out, _ = run("clips", "--labels", "labels.csv", "--out", "c")
    assert (code, sorted(map(str, labels().values()))) == (0, ["run", "sit"])
    assert "labels.csv: 2 rows used, 0 unused" in out


def test_labels_come_from_folder_names_and_splits_from_those_above(clips: Callable[..., Path], run: Index) -> None:
    clips("run/1.mp4", "run/2.mp4", "jump/1.mp4", "intro.mp4")
    code, out, _ = run("clips", "--labels-from-folders", "--out", "c")
    assert (code, labels()) == (0, {"run/1.mp4": "run", "run/2.mp4": "run", "jump/1.mp4": "jump"})
    assert "labels from folders: 2 names (jump 1, run 2)" in out
    assert "1 video in no folder of a class, without a label (first: intro.mp4)" in out


def test_folders_of_splits_say_the_split_only_where_all_are_such(clips: Callable[..., Path], run: Index) -> None:
    clips("train/run/1.mp4", "train/jump/1.mp4", "validation/run/1.mp4")
    code, out, _ = run("clips", "--labels-from-folders", "--out", "c")
    assert code == 0
    assert {(v.id, v.label, v.split) for v in Corpus.open("c").videos} == {
        ("train/run/1.mp4", "run", "train"), ("train/jump/1.mp4", "jump", "train"),
        ("validation/run/1.mp4", "run", "val"),
    }  # fmt: skip
    assert "splits from folders: train 2, val 1" in out
    code, out, _ = run("clips/train", "clips/validation", "--labels-from-folders", "--out", "d")
    assert code == 0
    assert sorted(v.split for v in Corpus.open("d").videos) == ["train", "train", "val"]
    clips("car/1.mp4")
    code, out, _ = run("clips", "--labels-from-folders", "--out", "e")
    assert code == 0
    assert {v.id: v.label for v in Corpus.open("e").videos}["train/run/1.mp4"] == "run"
    assert "train is taken as a folder like any other, as not all beside it are called as splits are" in out


def test_folders_that_say_no_label_or_another_one_are_refused(clips: Callable[..., Path], run: Index) -> None:
    clips("1.mp4", "2.mp4")
    refused(run("clips", "--labels-from-folders", "--out", "c"), "says no label")
    clips("run/1.mp4", "run/slow/2.mp4")
    refused(run("clips", "--labels-from-folders", "--out", "c"), "could be run or slow")
    (Path("clips") / "run" / "1.mp4").unlink()
    Path("labels.csv").write_text("path,label\n2.mp4,run\n")
    Path("clips/2.mp4").unlink()
    words = ("clips", "--labels-from-folders", "--labels", "labels.csv", "--out", "c")
    refused(run(*words), "two values of label: 'run' by labels.csv and 'slow' by its folder")
    Path("labels.csv").write_text("path,label,group\n2.mp4,slow,g\n")
    assert run(*words)[0] == 0
    assert [(v.label, v.group) for v in Corpus.open("c").videos] == [(None, "1.mp4"), ("slow", "g")]


def test_labels_that_are_different_numbers_look_like_regression(clips: Callable[..., Path], run: Index) -> None:
    names = [f"{n:02}.mp4" for n in range(32)]
    clips(*names)
    Path("labels.csv").write_text("path,label\n" + "".join(f"{name},{n / 7:.4f}\n" for n, name in enumerate(names)))
    words = ("clips", "--labels", "labels.csv", "--out", "c")
    code, out, _ = run(*words)
    assert code == 0
    assert "32 of 32 labels are different numbers: this looks like regression; tubelet's probes are classifiers" in out
    Path("labels.csv").write_text("path,label\n" + "".join(f"{name},{n % 4}\n" for n, name in enumerate(names)))
    assert "regression" not in run(*words, "--update")[1]


def test_segments_that_begin_together_are_rows_of_their_own(clips: Callable[..., Path], run: Index) -> None:
    clips("c00.mp4")
    Path("list.csv").write_text("path,start,end,label\nclips/c00.mp4,0,0.2,run\nclips/c00.mp4,0,0.4,sit\n")
    assert run("list.csv", "--out", "c")[0] == 0
    assert labels() == {"clips/c00.mp4#0": "run", "clips/c00.mp4#0-0.4": "sit"}
    assert {file_id(video) for video in Corpus.open("c").videos} == {"clips/c00.mp4"}
    assert "2 unchanged" in run("list.csv", "--out", "c", "--update")[1]
    assert len(labels()) == 2


def test_segments_that_no_end_tells_apart_are_refused(clips: Callable[..., Path], run: Index) -> None:
    clips("c00.mp4")
    Path("list.csv").write_text("path,start,end\n" + "".join(f"clips/c00.mp4,0.000{n},0.2\n" for n in range(3)))
    refused(run("list.csv", "--out", "c"), "two segments have the id clips/c00.mp4#0-0.2")


def test_values_that_are_read_alike_and_rows_without_a_split_are_said(clips: Callable[..., Path], run: Index) -> None:
    clips()
    Path("labels.csv").write_text(
        "path,label,split,group\nc00.mp4,Run,train,caf\u00e9\nc01.mp4,run\u200b,trian,cafe\u0301\nc02.mp4,nan,,\n"
    )
    code, out, _ = run("clips", "--labels", "labels.csv", "--out", "c")
    assert code == 0
    for part in (
        r"labels 'Run' and 'run\u200b' are read alike and count as two",
        r"groups 'cafe\u0301' and 'caf\xe9' are read alike",
        "1 row with the label nan, a class like any other here",
        "split 'trian' (1 row) is none of train, val and test",
        "2 rows without a split beside rows that have one: it is drawn, train or test (first: b/jump/001.mp4, ",
    ):
        assert part in out, out


def test_alike_are_numbers_of_one_value_and_not_what_differs() -> None:
    rows = [{"video": "v", "label": value, "group": "v", "split": "train"} for value in ("1", "01", "2", "a1", "a 2")]
    (remark,) = look_alikes(rows)
    assert remark.startswith("labels '01' and '1' are read alike")
    assert not look_alikes(rows[1:])


@pytest.mark.parametrize(
    ("option", "table", "part"),
    [
        ("--captions", "path,caption\nc00.mp4,\"['a man', 'a dog']\"\n", "line 2: the caption is a list ("),
        ("--labels", 'path,label\nc00.mp4,"[""run"", ""sit""]"\n', "line 2: the label is a list ("),
        ("--labels", 'path,label\nc00.mp4,"[1, 2]"\n', "line 2: the label is a list ([1, 2]); write a row for each"),
        ("--captions", "path,caption,time_ms\nc00.mp4,a,500\n", "the column 'time_ms' is not in seconds"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused(
    clips: Callable[..., Path], run: Index, option: str, table: str, part: str
) -> None:
    clips()
    Path("table.csv").write_text(table)
    refused(run("clips", option, "table.csv", "--out", "c"), part)


@pytest.mark.parametrize("column", ["start_ms", "Start (ms)", "end-minutes"])
def test_segments_in_another_unit_than_seconds_are_refused(clips: Callable[..., Path], run: Index, column: str) -> None:
    clips("c00.mp4")
    Path("list.csv").write_text(f"path,{column}\nclips/c00.mp4,500\n")
    refused(run("list.csv", "--out", "c"), f"the column {column!r} is not in seconds")


def test_a_column_that_is_called_like_one_that_is_read_is_named() -> None:
    columns, said = name_columns(["path", "caption", "caption_2", "label", "class", "camera", "start_frame"], Path("t"))
    assert columns == {"path": 0, "caption": 1, "label": 3}
    assert said == [
        "t: not used: columns 'caption_2', 'class'; one column of a kind is read, and further captions of a video are "
        "further rows"
    ]


def test_missing_values_and_bytes_of_a_parquet_file_are_no_labels(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"video": ["a", "b", "c"], "label": [1.0, float("nan"), 0.0], "group": [b"g", None, b"h"]})
    frame.to_parquet(tmp_path / "labels.parquet")
    rows = from_parquet(tmp_path / "labels.parquet").rows
    assert [row.cells for row in rows] == [("a", "1.0", "g"), ("b", "", ""), ("c", "0.0", "h")]
