"""Lists and tables as people write them."""

import os
from pathlib import Path

import pytest

from tubelet.corpus.listing import list_sources, segment_id
from tubelet.corpus.names import Names
from tubelet.corpus.rows import named_rows, seconds
from tubelet.corpus.tables import Table
from tubelet.errors import CorpusError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b/two.mp4",
        "a/one.MP4",
        "a/with space, and comma.avi",
        "one.mkv",
        ".hidden.mp4",
        ".git/x.mp4",
        "n.txt",
    ):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).touch()
    return tmp_path / "tree"


def ids(*sources: Path | str, **options: Path) -> list[str]:
    return [entry.id for entry in list_sources(sources, **options).entries]


def test_folders_are_searched_to_their_end_in_order(tree: Path) -> None:
    assert ids(tree) == ["a/one.MP4", "a/with space, and comma.avi", "b/two.mp4", "one.mkv"]
    assert ids(tree / "a") == ["one.MP4", "with space, and comma.avi"]
    assert ids(tree / "one.mkv") == ["one.mkv"]


def test_links_are_followed_once_and_the_corpus_itself_is_left_out(tree: Path) -> None:
    (tree / "b" / "loop").symlink_to(tree)
    (tree / "out").mkdir()
    (tree / "out" / "cached.mp4").touch()
    assert ids(tree, leave_out=tree / "out") == ["a/one.MP4", "a/with space, and comma.avi", "b/two.mp4", "one.mkv"]


def test_equal_names_in_two_sources_do_not_collide(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "more" / "a"
    other.mkdir(parents=True)
    (other / "one.MP4").touch()
    (other / "new.mp4").touch()
    assert ids(tree / "a", other) == ["one.MP4", "with space, and comma.avi", "more/a/new.mp4", "more/a/one.MP4"] or (
        ids(tree / "a", other) == ["one.MP4", "with space, and comma.avi", "a/new.mp4", "a/one.MP4"]
    )
    assert len(set(ids(tree / "a", other))) == 4
    assert ids(tree, tree / "a") == ids(tree), "the same file twice is one row"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", 'path,label\na/one.MP4,run\n"a/with space, and comma.avi",walk\n'),
        ("l.csv", "\ufefflabel;Video Path\nrun;a/one.MP4\nwalk;a/with space, and comma.avi\n"),
        ("l.tsv", "file\tclass\na/one.MP4\trun\na/with space, and comma.avi\twalk\n"),
        ("l.csv", 'a/one.MP4,run\n"a/with space, and comma.avi",walk\n'),
        ("l.csv", 'vidoe_path,labell\na/one.MP4,run\n"a/with space, and comma.avi",walk\n'),
    ],
)
def test_lists_are_read_with_and_without_a_header(tree: Path, name: str, text: str) -> None:
    (tree / name).write_text(text, encoding="utf-8")
    entries = list_sources([tree / name]).entries
    assert [(e.id, e.label) for e in entries] == [("a/one.MP4", "run"), ("a/with space, and comma.avi", "walk")]
    assert all(e.path.is_file() for e in entries)


def test_plain_lines_with_spaces_are_a_path_and_perhaps_a_label(tree: Path) -> None:
    (tree / "my clip.mp4").touch()
    (tree / "l.txt").write_text("my clip.mp4\na/one.MP4 3\nb/two.mp4 120 4\nmissing one.mp4 5\n")
    entries = list_sources([tree / "l.txt"]).entries
    assert [(e.id, e.label) for e in entries] == [
        ("my clip.mp4", None), ("a/one.MP4", "3"), ("b/two.mp4", "4"), ("missing one.mp4", "5"),
    ]  # fmt: skip


def test_segments_of_a_list_keep_their_spans(tree: Path) -> None:
    (tree / "l.csv").write_text("video,start,end,label\none.mkv,0:10,12.5,x\none.mkv,20,25,y\nb/two.mp4,,3,z\n")
    entries = list_sources([tree / "l.csv"]).entries
    assert [(e.id, e.start, e.end, e.label) for e in entries] == [
        ("one.mkv#10", 10.0, 12.5, "x"), ("one.mkv#20", 20.0, 25.0, "y"), ("b/two.mp4#0", 0.0, 3.0, "z"),
    ]  # fmt: skip
    (tree / "l.csv").write_text("video,start,end\none.mkv,12,3\n")
    with pytest.raises(CorpusError, match="ends at 3 s, before it starts at 12 s"):
        list_sources([tree / "l.csv"])


def test_absolute_paths_get_ids_without_the_machine_in_them(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text(f"{tree}/a/one.MP4\n{tree}/b/two.mp4\n")
    assert ids(tmp_path / "l.txt") == ["tree/a/one.MP4", "tree/b/two.mp4"]
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "l.txt").write_text(f"{tree}/a/one.MP4\n{tree}/b/two.mp4\n")
    assert ids(tmp_path / "far" / "l.txt") == ["a/one.MP4", "b/two.mp4"]


def test_what_cannot_be_is_said_in_one_line(tree: Path) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"no videos in .*empty"):
        list_sources([tree / "empty"])
    with pytest.raises(CorpusError, match="no file or folder nowhere"):
        list_sources(["nowhere"])
    (tree / "l.csv").write_text("path,label\n")
    with pytest.raises(CorpusError, match="names no videos"):
        list_sources([tree / "l.csv"])
    (tree / "l.csv").write_text("label,weight\nx,1\n")
    with pytest.raises(CorpusError, match=r"has no column path .*its columns are: label, weight"):
        list_sources([tree / "l.csv"])
    (tree / "l.csv").write_text("path,label\none.mkv,x\none.mkv,y\n")
    with pytest.raises(CorpusError, match=r"line 3 \(after line 2\) gives one.mkv the label 'y', before it was 'x'"):
        list_sources([tree / "l.csv"])
    (tree / "l.csv").write_text("a.mp4,1,2,3,4,5\n")
    with pytest.raises(CorpusError, match="needs a header"):
        list_sources([tree / "l.csv"])
    (tree / "l.csv").write_text("path,start\none.mkv,soon\n")
    with pytest.raises(CorpusError, match="start 'soon' is no time"):
        list_sources([tree / "l.csv"])


def test_names_are_found_by_path_id_or_a_name_that_only_one_has(tmp_path: Path) -> None:
    names = Names([(n, tmp_path / "v" / n) for n in ("a/one.mp4", "b/one.mp4", "b/two.mp4")])
    for name in (
        "b/two.mp4",
        "two.mp4",
        "two",
        "b/two",
        "./b/two.mp4",
        str(tmp_path / "v" / "b" / "two.mp4"),
        "v/b/two.mp4",
    ):
        assert names.find(name, tmp_path) == "b/two.mp4", name
    for name in ("one", "one.mp4", "three.mp4", ""):
        assert names.find(name, tmp_path) is None, name
    assert names.why_none("one", tmp_path) == "one could be a/one.mp4 or b/one.mp4: write its path"
    assert names.why_none("three", tmp_path) == "three is none of the videos"
    assert names.why_none("b/twoo.mp4", tmp_path) == "b/twoo.mp4 is none of the videos, did you mean b/two.mp4?"


def test_near_names_of_columns_are_read_and_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("video,captoin,weather\nx,hello,sun\n")
    table = Table.read(tmp_path / "t.csv")
    assert [row.values for row in named_rows(table, ("path", "caption"))] == [{"path": "x", "caption": "hello"}]
    assert table.remarks == ["t.csv: column 'captoin' is read as caption"]


def test_times_are_read_as_people_write_them() -> None:
    assert [seconds(t, "x", "y") for t in ("12.5", "10s", "500ms", "2m", "1h", "1:02", "1:00:01.5", "")] == [
        12.5, 10.0, 0.5, 120.0, 3600.0, 62.0, 3601.5, None,
    ]  # fmt: skip
    assert [segment_id("v.mp4", t) for t in (0.0, 10.0, 12.5, 12345678.0)] == [
        "v.mp4#0", "v.mp4#10", "v.mp4#12.5", "v.mp4#12345678",
    ]  # fmt: skip


def test_names_that_are_no_text_are_left_out_and_said(tree: Path) -> None:
    (tree / "b" / os.fsdecode(b"caf\xe9.mp4")).touch()
    listing = list_sources([tree])
    assert [entry.id for entry in listing.entries] == ids(tree)
    assert len(listing.entries) == 4
    assert any(
        "1 file left out, named by bytes that are no UTF-8 (first: 'caf\\udce9.mp4')" in one for one in listing.remarks
    )


def test_a_name_that_looks_like_somebodys_home_is_a_name(tree: Path) -> None:
    (tree / "~me again.mp4").touch()
    (tree / "l.csv").write_text("path,label\n~me again.mp4,run\n")
    (entry,) = list_sources([tree / "l.csv"]).entries
    assert entry.path == tree / "~me again.mp4"
    assert Names([(entry.id, entry.path)]).find("~me again.mp4", tree) == "~me again.mp4"


def test_a_quotation_mark_that_is_never_closed_is_said(tree: Path) -> None:
    (tree / "l.csv").write_text('path,label\na/one.MP4,"run\n' + "b/two.mp4,walk\n" * 10_000)
    with pytest.raises(CorpusError, match=r"l.csv line 2: a quotation mark is opened and never closed"):
        list_sources([tree / "l.csv"])


def test_what_a_folder_holds_beside_videos_is_counted_by_ending(tree: Path) -> None:
    (tree / "a" / "still.webp").touch()
    (tree / "a" / "raw.H265").touch()
    (tree / "notes").touch()
    found = list_sources([tree])
    assert "a/raw.H265" in [entry.id for entry in found.entries]
    [remark] = found.remarks
    assert remark.startswith(f"{tree}: 3 files not taken for videos, by their endings (")
    assert all(some in remark for some in ("1 .txt", "1 .webp", "1 without ending"))
