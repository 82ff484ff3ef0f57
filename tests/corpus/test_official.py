"""Official annotation files become rows: the right file, label, split, group, span and captions, and leaks are said."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from support import official
from support.bars import FPS, HEIGHT, WIDTH, moving
from tubelet.corpus.index import index
from tubelet.corpus.official import (
    DATASETS,
    Dataset,
    Diving48,
    Epic100,
    Hmdb51,
    Item,
    Jester,
    Kinetics,
    MsrVtt,
    Msvd,
    Shelf,
    SomethingSomething,
    Ucf101,
    WebVid,
    list_dataset,
)
from tubelet.corpus.official.base import annotation_files
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.video.writer import write_video

Run = Callable[..., tuple[int, str, str]]
UCF = [
    Item("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "train", "ApplyEyeMakeup", "v_ApplyEyeMakeup_g08"),
    Item("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi", "train", "ApplyEyeMakeup", "v_ApplyEyeMakeup_g08"),
    Item("YoYo/v_YoYo_g25_c04.avi", "train", "YoYo", "v_YoYo_g25"),
    Item("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi", "test", "ApplyEyeMakeup", "v_ApplyEyeMakeup_g01"),
    Item("YoYo/v_YoYo_g07_c03.avi", "test", "YoYo", "v_YoYo_g07"),
]
WAGON, CAR = "https://www.youtube.com/watch?v=b", "https://www.youtube.com/watch?v=a"
VTT = {
    "video0": Item("video0", "train", "vehicles/autos", CAR, ("a car drives", "a red car")),
    "video6513": Item("video6513", "val", "music", WAGON, ("a man sings",)),
    "video7010": Item("video7010", "test", "vehicles/autos", CAR, ("a truck", "a lorry")),
}
HMDB = [
    Item("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "train", "brush_hair", "April_09_brush_hair"),
    Item("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_1.avi", "unused", "brush_hair", "April_09_brush_hair"),
    Item("brush_hair/red_head_brush_hair_u_cm_np1_le_goo_2.avi", "test", "brush_hair", "red_head_brush_hair"),
    Item("cartwheel/turnles!!_cartwheel_f_cm_np10_ri_med_3.avi", "test", "cartwheel", "turnles!!_cartwheel"),
]
CASES: list[tuple[Dataset, official.Files, list[Item]]] = [
    (Ucf101(), official.UCF101, UCF),
    (Ucf101(split="2"), official.UCF101, [replace(UCF[4], split="train"), replace(UCF[2], split="test")]),
    (Hmdb51(), official.HMDB51, HMDB),
    (Hmdb51(split="2"), official.HMDB51, [replace(HMDB[2], split="train")]),
    (
        Diving48(),
        official.DIVING48,
        [
            Item("-mmq0PT-u8k_00156", "test", "Back 15som 05Twis FREE", "-mmq0PT-u8k"),
            Item("-mmq0PT-u8k_00155", "train", "Back 15som 05Twis FREE", "-mmq0PT-u8k"),
            Item("2x00lRzlTVQ_00000", "train", "Back 15som 15Twis FREE", "2x00lRzlTVQ"),
        ],
    ),
    (
        SomethingSomething(),
        official.SSV2,
        [
            Item("117478", "val", "Moving something up", None, ("moving a jar up",)),
            Item("1420", "test", "Moving something up"),
            Item("50058", "test"),
            Item("78687", "train", "Holding something next to something", None, ("holding a cup next to a box",)),
        ],
    ),
    (
        Kinetics(),
        official.KINETICS,
        [
            Item("abseiling/0wR5jVB-WPk_000417_000427.mp4", "val", "abseiling", "0wR5jVB-WPk"),
            Item("air drumming/_dbcJuKJQNs_000040_000050.mp4", "val", "air drumming", "_dbcJuKJQNs"),
            Item("test/LAcSOxdNrmI_000061_000071.mp4", "test", None, "LAcSOxdNrmI"),
            Item("abseiling/7pRfb0t34uo_000158_000168.mp4", "train", "abseiling", "7pRfb0t34uo"),
            Item("washing feet/--GkrdYZ9Tc_000000_000010.mp4", "val", "washing feet", "--GkrdYZ9Tc"),
        ],
    ),
    *(
        (
            Epic100(target=target),  # type: ignore[arg-type]
            official.EPIC100,
            [
                Item("P01/videos/P01_101.MP4", "test", name="P01_101_0", start=2.86, end=63.87),
                Item("P01/videos/P01_11.MP4", "val", first, None, ("take plate",), "P01_11_0", 0.0, 1.89),
                Item("P01/videos/P01_11.MP4", "val", second, None, ("put down plate, cup",), "P01_11_1", 0.0, 1.45),
            ],
        )
        for target, first, second in (
            ("action", "take plate", "put plate"),
            ("verb", "take", "put"),
            ("noun", "plate", "plate"),
        )
    ),
    (
        Jester(),
        official.JESTER,
        [
            Item("109621", "test"),
            Item("34870", "train", "Drumming Fingers"),
            Item("56557", "train", "Sliding Two Fingers Right"),
            Item("9223", "val", "Thumb Up"),
        ],
    ),
    (MsrVtt(), official.MSRVTT, [VTT["video7010"], VTT["video0"], VTT["video6513"]]),
    (
        MsrVtt(split="1k-A"),
        official.MSRVTT,
        [
            replace(VTT["video7010"], captions=("a lorry",)),
            VTT["video0"],
            replace(VTT["video6513"], split="train"),
        ],
    ),
    (
        Msvd(),
        official.MSVD,
        [
            Item("mv89psg6zh4_33_46", "train", None, "mv89psg6zh4", ("a bird in a sink", "a faucet and a bird")),
            Item("_y-uffFT2BW_0_8", "test", None, "_y-uffFT2BW", ("someone cooks",)),
        ],
    ),
    (
        Msvd(),
        official.MSVD_TABLE,
        [
            Item("mv89psg6zh4_33_46", "test", None, "mv89psg6zh4", ("A bird, in a sink",)),
            Item("_y-uffFT2BW_0_8", "unused", None, "_y-uffFT2BW", ("Someone cooks",)),
        ],
    ),
    (
        Msvd(language="Slovene"),
        official.MSVD_TABLE,
        [Item("mv89psg6zh4_33_46", "test", None, "mv89psg6zh4", ("Papagaj",))],
    ),
    (
        WebVid(),
        official.WEBVID,
        [
            Item("006001_006050/21179416.mp4", "train", captions=("Aerial",)),
            Item("027701_027750/1053841541.mp4", "val", captions=("A bird, in a sink.",)),
        ],
    ),
]


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder


@pytest.mark.parametrize(("dataset", "files", "expected"), CASES, ids=lambda part: getattr(part, "name", ""))
def test_the_official_files_become_these_rows(
    dataset: Dataset, files: official.Files, expected: list[Item], tmp_path: Path
) -> None:
    assert dataset.read(annotation_files([write(tmp_path, files)])) == expected


def test_every_data_set_is_tested_and_says_in_one_line_what_it_lacks(tmp_path: Path) -> None:
    assert {dataset.name for dataset, _, _ in CASES} == set(DATASETS)
    (tmp_path / "notes.txt").write_text("hello\n")
    for cls in DATASETS.values():
        with pytest.raises(CorpusError, match=f"^{cls.name} needs ") as caught:
            cls().read(annotation_files([tmp_path]))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "name", "text"),
    [
        (Ucf101(), "trainlist01.txt", "v_YoYo_g25_c04.avi 101\n"),
        (Hmdb51(), "cartwheel_test_split1.txt", "a_cartwheel_f_cm_np1_ri_med_3.avi 5\n"),
        (Diving48(), "Diving48_V2_train.json", '["a"]'),
        (SomethingSomething(), "train.json", '["a"]'),
        (Kinetics(), "train.csv", "label,youtube_id,time_start,time_end,split\na,b,one,two,train\n"),
        (Jester(), "jester-v1-train.csv", "Err:522,\n"),
        (MsrVtt(), "train_val_videodatainfo.json", '{"annotations": []}'),
    ],
    ids=lambda part: getattr(part, "name", ""),
)
def test_a_damaged_file_is_named_with_the_line_at_fault(dataset: Dataset, name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CorpusError, match=f"{name} is no official annotation file of {dataset.name}: it says"):
        dataset.read(annotation_files([tmp_path]))


def test_files_are_found_wherever_they_lie_and_the_others_keep_a_row(tmp_path: Path, run: Run) -> None:
    write(tmp_path / "lists", official.UCF101)
    for position in ("flat/v_ApplyEyeMakeup_g08_c01.avi", "YoYo/v_YoYo_g07_c03.avi", "mp4/v_YoYo_g25_c04.mp4"):
        (tmp_path / "v" / position).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "v" / position, moving(8, HEIGHT, WIDTH, len(position)), FPS)
    options = ("--dataset", "ucf101", "--videos", tmp_path / "v", "--out", tmp_path / "c")
    code, out, _ = run(tmp_path / "lists", *options)
    assert code == 0
    rows = {video.id: video for video in Corpus.open(tmp_path / "c").videos}
    assert {name: (v.split, v.label, v.group, v.status) for name, v in rows.items()} == {
        item.file: (
            item.split, item.label, item.group,
            "ok" if item.file.endswith(("g08_c01.avi", "g07_c03.avi", "g25_c04.avi")) else "missing",
        )
        for item in UCF
    }  # fmt: skip
    assert rows["YoYo/v_YoYo_g25_c04.avi"].path == tmp_path / "v" / "mp4" / "v_YoYo_g25_c04.mp4"
    assert "5 rows, 3 ok" in out
    assert "missing: 2 (ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi: no such file)" in out
    write_video(tmp_path / "v" / "v_ApplyEyeMakeup_g08_c02.avi", moving(8, HEIGHT, WIDTH), FPS)
    assert run(tmp_path / "lists", *options, "--update")[0] == 0
    assert sum(video.status == "ok" for video in Corpus.open(tmp_path / "c").videos) == 4
    code, _, err = run(tmp_path / "lists", *options, "--update", "--split", "2")
    assert (code, "was indexed as name=ucf101, split=1; give another --out for ucf101 --split 2" in err) == (2, True)


def test_segments_of_one_file_are_rows_with_their_own_names_and_captions(tmp_path: Path, run: Run) -> None:
    write(tmp_path, official.EPIC100)
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v" / "P01_11.MP4", moving(30, HEIGHT, WIDTH), FPS)
    options = ("--dataset", "epic100", "--target", "verb", "--videos", tmp_path / "v", "--out", tmp_path / "c")
    assert run(tmp_path, *options)[0] == 0
    corpus = Corpus.open(tmp_path / "c")
    rows = {v.id: (v.label, v.split, v.status, v.group, v.frames) for v in corpus.videos}
    assert rows == {
        "P01_101_0": (None, "test", "missing", "P01/videos/P01_101.MP4", 0),
        "P01_11_0": ("take", "val", "ok", "P01/videos/P01_11.MP4", 19),
        "P01_11_1": ("put", "val", "ok", "P01/videos/P01_11.MP4", 15),
    }
    assert [(c.video, c.text, c.source) for c in corpus.captions] == [
        ("P01_11_0", "take plate", "narration"), ("P01_11_1", "put down plate, cup", "narration"),
    ]  # fmt: skip
    assert run(tmp_path, *options, "--update")[0] == 0
    assert {v.id for v in Corpus.open(tmp_path / "c").videos} == set(rows)


def test_recordings_and_files_shared_by_splits_are_said(tmp_path: Path) -> None:
    write(tmp_path / "d", official.DIVING48)
    for number, name in enumerate(("-mmq0PT-u8k_00155", "-mmq0PT-u8k_00156", "2x00lRzlTVQ_00000")):
        (tmp_path / "v").mkdir(exist_ok=True)
        write_video(tmp_path / "v" / f"{name}.mp4", moving(8, HEIGHT, WIDTH, number), FPS)
    (tmp_path / "v" / "2x00lRzlTVQ_00000.mp4").write_bytes((tmp_path / "v" / "-mmq0PT-u8k_00156.mp4").read_bytes())
    made = index([tmp_path / "d"], tmp_path / "c", dataset=Diving48(), videos=tmp_path / "v")
    assert [remark for remark in made.remarks if "group" in remark] == [
        "leak: 1 group in more than one split (first: -mmq0PT-u8k), as given or as before the rows had a group; "
        "to keep groups whole, index into a new folder without a split column"
    ]
    assert [remark for remark in made.remarks if "byte" in remark] == [
        "leak: 1 file in val or test byte for byte as in another split "
        "(first: -mmq0PT-u8k_00156, as 2x00lRzlTVQ_00000); leave one of them out"
    ]


def test_a_file_in_two_splits_is_kept_in_the_measured_one_and_what_was_left_out_is_no_leak(tmp_path: Path) -> None:
    write(tmp_path, official.UCF101)
    with (tmp_path / "trainlist01.txt").open("a") as file:
        file.write("YoYo/v_YoYo_g07_c03.avi 2\nYoYo/v_YoYo_g25_c04.avi 2\n")
    listing = list_dataset(Ucf101(), [tmp_path], tmp_path)
    assert {e.video: e.split for e in listing.entries} == {item.file: item.split for item in UCF}
    assert listing.remarks == [
        "1 row named twice, kept once",
        "leak: 1 file named in more than one split (first: YoYo/v_YoYo_g07_c03.avi); "
        "kept in the one that is measured on",
    ]
    write(tmp_path / "h", official.HMDB51)
    made = index([tmp_path / "h"], tmp_path / "c", dataset=Hmdb51(), videos=tmp_path)
    assert not [remark for remark in made.remarks if "leak" in remark]


def shelf_of(folder: Path, *positions: str) -> Shelf:
    for position in positions:
        (folder / position).parent.mkdir(parents=True, exist_ok=True)
        (folder / position).touch()
    return Shelf(folder)


def test_a_name_that_could_be_several_files_is_none_of_them(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path, "v/a/1.mp4", "v/b/1.mp4", "v/c/2.mp4", "v/c/2.webm", "3.avi", "v/3.avi")
    (tmp_path / "v" / "link.mp4").symlink_to(tmp_path / "v" / "a" / "1.mp4")
    found = {name: shelf.find(name) for name in ("1", "1.mp4", "b/1.mp4", "a/1.avi", "z/1.mp4", "2", "2.webm", "3.avi")}
    assert {name: path and path.relative_to(tmp_path).as_posix() for name, path in found.items()} == {
        "1": None, "1.mp4": None, "b/1.mp4": "v/b/1.mp4", "a/1.avi": "v/a/1.mp4", "z/1.mp4": None, "2": None,
        "2.webm": "v/c/2.webm", "3.avi": "3.avi",
    }  # fmt: skip
    assert shelf.doubts(["1", "b/1.mp4", "4"]) == {"1": "could be v/a/1.mp4 or v/b/1.mp4"}
    [remark] = shelf.remarks(["1", "b/1.mp4", "2"])
    assert remark.startswith("2 names left without a file, because no file is meant for sure (first: 1 could be v/a/1.")


def test_two_names_do_not_share_a_file_that_only_one_of_them_can_be(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path, "a/1.mp4", "2.mp4")
    assert shelf.doubts(["a/1.mp4", "b/1.mp4"]) == {"b/1.mp4": "is not there, or is a/1.mp4, which could be a/1.mp4"}
    assert list(shelf.doubts(["a/2.mp4", "b/2.mp4"])) == ["a/2.mp4", "b/2.mp4"]
    assert not shelf.doubts(["1.mp4", "a/2.mp4"])


def test_a_row_whose_file_is_in_doubt_keeps_its_label_for_itself(tmp_path: Path, run: Run) -> None:
    """Each of two files of one name is of another class; the first one found is not taken for the second."""
    write(tmp_path / "lists", official.UCF101)
    for position in ("one/v_YoYo_g07_c03.avi", "two/v_YoYo_g07_c03.avi", "two/v_YoYo_g25_c04.avi"):
        (tmp_path / "v" / position).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "v" / position, moving(8, HEIGHT, WIDTH, len(position)), FPS)
    options = ("--dataset", "ucf101", "--videos", tmp_path / "v", "--out", tmp_path / "c")
    code, out, err = run(tmp_path / "lists", *options)
    assert code == 0, err
    doubt = "could be one/v_YoYo_g07_c03.avi or two/v_YoYo_g07_c03.avi"
    assert (
        f"1 name left without a file, because no file is meant for sure (first: YoYo/v_YoYo_g07_c03.avi {doubt}" in out
    )
    rows = {video.id: video for video in Corpus.open(tmp_path / "c").videos}
    assert (rows["YoYo/v_YoYo_g07_c03.avi"].status, rows["YoYo/v_YoYo_g07_c03.avi"].reason) == ("missing", doubt)
    assert rows["YoYo/v_YoYo_g25_c04.avi"].status == "ok"
    (tmp_path / "v" / "one" / "v_YoYo_g07_c03.avi").unlink()
    assert run(tmp_path / "lists", *options, "--update")[0] == 0
    rows = {video.id: video for video in Corpus.open(tmp_path / "c").videos}
    assert rows["YoYo/v_YoYo_g07_c03.avi"].path == tmp_path / "v" / "two" / "v_YoYo_g07_c03.avi"


def test_folders_of_pictures_in_place_of_files_are_said(tmp_path: Path) -> None:
    (tmp_path / "34870").mkdir()
    shelf = Shelf(tmp_path)
    assert shelf.find("34870") is None
    [folders] = shelf.remarks(["34870", "1"])
    assert "1 videos lie as folders of pictures (first: 34870)" in folders
    assert "ffmpeg -framerate RATE -i 34870/%05d.jpg 34870.mp4" in folders


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--dataset", "ufc101", "--videos", "."), "there is no data set 'ufc101'; did you mean ucf101?"),
        (("--dataset", "ucf101"), "--dataset ucf101 needs --videos FOLDER"),
        (("--dataset", "ucf101", "--videos", ".", "--split", "4"), "--split of ucf101 is one of 1, 2, 3, not '4'"),
        (("--dataset", "jester", "--videos", ".", "--split", "1"), "jester has no --split to choose"),
        (("--dataset", "ucf101", "--videos", "nowhere"), "there is no folder nowhere"),
        (("--split", "1"), "--split goes with --dataset NAME"),
        (("--dataset", "ucf101", "--videos", ".", "--segment", "10s"), "--segment cuts videos of your own"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: tuple[str, ...], said: str, tmp_path: Path, run: Run) -> None:
    code, _, err = run(write(tmp_path, official.UCF101), *words, "--out", tmp_path / "c")
    assert (code, (tmp_path / "c").exists()) == (2, False)
    assert said in err
    assert err.count("\n") == 1


def test_real_clips_of_msvd_are_found_by_their_official_names(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "captioned"
    names = sorted(path.stem for path in folder.glob("*.avi"))
    (tmp_path / "AllVideoDescriptions.txt").write_text("".join(f"{name} something happens\n" for name in names))
    made = index([tmp_path], tmp_path / "c", dataset=Msvd(), videos=folder)
    assert [(v.id, v.status) for v in made.videos] == [(name, "ok") for name in names]
    assert len({v.group for v in made.videos}) == len(names)
    assert len(made.captions) == len(names)
