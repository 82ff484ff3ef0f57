"""Captions from files, subtitles and labels: each format says the same, and nothing is written twice or over others."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from support import official
from tubelet.captioning import Captioning, Descriptions, Files, Templates, caption
from tubelet.captioning.files import Said, read_caption_file
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError
from tubelet.evaluations.contamination import share_that_names_the_label

Run = Callable[..., tuple[int, str, str]]
SAID = [("clip 0", "a cat, asleep"), ("clip 1", "a dog"), ("clip 0", "it wakes up")]
FORMATS = {
    "a.csv": 'video,caption\nclip 0,"a cat, asleep"\nclip 1,a dog\nclip 0,it wakes up\nelsewhere,no\n',
    "a.tsv": "video_id\tsentence\nclip 0\ta cat, asleep\nclip 1\ta dog\nclip 0\tit wakes up\nelsewhere\tno\n",
    "a.jsonl": "\n".join(json.dumps({"video_id": video, "text": text}) for video, text in (*SAID, ("elsewhere", "no"))),
    "a.json": json.dumps([{"clip": video, "caption": text} for video, text in (*SAID, ("elsewhere", "no"))]),
    "lists.json": json.dumps({"clip 0": ["a cat, asleep", "it wakes up"], "clip 1": ["a dog"], "elsewhere": ["no"]}),
    "msrvtt.json": json.dumps(
        {
            "videos": [],
            "sentences": [{"video_id": v, "caption": t, "sen_id": 0} for v, t in (*SAID, ("elsewhere", "no"))],
        }
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(name: str, corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FORMATS[name])
    done = caption(corpus, Captioning(captioner=Files(path=str(tmp_path / name))))
    assert sorted((c.video, c.text, c.model) for c in done.corpus.captions) == sorted((*said, None) for said in SAID)
    assert (done.captions, done.videos) == (3, 2)
    index = "text 4" if "json" in name else "line 5"
    assert done.remarks == (f"{name}: 3 rows used, 1 unused ({index}: elsewhere is none of the videos)",)
    again = caption(corpus, Captioning(captioner=Files(path=str(tmp_path / name))))
    assert len(again.corpus.captions) == 3, "the same file again adds nothing"


def test_the_formats_of_data_sets_are_told_by_their_columns(tmp_path: Path) -> None:
    for name, text in {**official.MSVD, **official.MSVD_TABLE, **official.WEBVID, **official.MSRVTT}.items():
        (tmp_path / name).write_text(text)
    found = {name: [(said.name, said.text, said.source) for said in read_caption_file(tmp_path / name)] for name in (
        "AllVideoDescriptions.txt", "video_corpus.csv", "results_2M_val.csv", "train_val_videodatainfo.json",
        "MSRVTT_JSFUSION_test.csv",
    )}  # fmt: skip
    assert found == {
        "AllVideoDescriptions.txt": [
            ("mv89psg6zh4_33_46", "a bird in a sink", "human"),
            ("mv89psg6zh4_33_46", "a faucet and a bird", "human"),
            ("_y-uffFT2BW_0_8", "someone cooks", "human"),
        ],
        "video_corpus.csv": [
            ("mv89psg6zh4_33_46", "A bird, in a sink", "human"),
            ("_y-uffFT2BW_0_8", "Someone cooks", "human"),
        ],
        "results_2M_val.csv": [("1053841541", "A bird, in a sink.", "alt-text")],
        "train_val_videodatainfo.json": [
            ("video0", "a car drives", None), ("video6513", "a man sings", None), ("video0", "a red car", None),
        ],
        "MSRVTT_JSFUSION_test.csv": [("video7010", "a lorry", None)],
    }  # fmt: skip


SRT = """1
00:00:00,000 --> 00:00:01,000
<i>Hello</i> there.

2
00:00:01,200 --> 00:00:02,600
{\\an8}General
Kenobi &amp; co.

3
00:01:00,000 --> 00:01:01,000
Far away.
"""
VTT = """WEBVTT - made by a machine

NOTE nothing to see

STYLE
::cue { color: red }

00:00.000 --> 00:01.000 align:start position:0%
Hello<00:00:00.400><c> there.</c>

intro
00:01.200 --> 00:02.600
General Kenobi &amp; co.

00:01.200 --> 00:02.600
General Kenobi &amp; co.

01:00.000 --> 01:01.000
Far away.
"""


@pytest.mark.parametrize(("name", "text"), [("talk.srt", SRT), ("talk.en.vtt", VTT)])
def test_subtitles_are_cut_to_the_segments_in_which_they_are_said(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "subtitles" / "a").mkdir(parents=True)
    (tmp_path / "subtitles" / "a" / name).write_bytes(text.replace("\n", "\r\n").encode())
    cues = list(read_caption_file(tmp_path / "subtitles"))
    assert cues == [
        Said("a/talk", "Hello there.", "subtitles", 0.0, 1.0),
        Said("a/talk", "General Kenobi & co.", "subtitles", 1.2, 2.6),
        Said("a/talk", "Far away.", "subtitles", 60.0, 61.0),
    ]
    rows = [
        {"id": f"a/talk.mp4#{start}", "path": tmp_path / "talk.mp4", "start": start, "end": start + 1.5}
        for start in (0.0, 1.5)
    ]
    corpus = write_corpus(tmp_path / "c", "talks", rows)
    done = caption(corpus, Captioning(captioner=Files(path=str(tmp_path / "subtitles"))))
    assert [(c.video, c.text, c.time, c.source) for c in done.corpus.captions] == [
        ("a/talk.mp4#0.0", "Hello there.", 0.5, "subtitles"),
        ("a/talk.mp4#1.5", "General Kenobi & co.", 1.9, "subtitles"),
    ]


def test_lines_end_where_json_says_and_nothing_is_said_is_no_caption(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"video": "a", "text": "one\u2028two\x85three", "time": "1:02"}\n\n'
        '{"video": "b", "captions": ["x", null], "time": 3}\n',
        encoding="utf-8",
    )
    assert list(read_caption_file(tmp_path / "a.jsonl")) == [
        Said("a", "one\u2028two\x85three", None, 62.0),
        Said("b", "x", None, 3.0),
    ]
    (tmp_path / "a.jsonl").write_text('{"video": "a", "text": "x", "time": "soon"}\n')
    with pytest.raises(CorpusError, match="'soon' is no time"):
        list(read_caption_file(tmp_path / "a.jsonl"))


def test_subtitles_of_windows_are_read(tmp_path: Path) -> None:
    (tmp_path / "talk.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nGrüße\n", encoding="utf-16")
    assert list(read_caption_file(tmp_path / "talk.srt")) == [Said("talk", "Grüße", "subtitles", 0.0, 1.0)]


def test_what_is_said_in_a_row_can_be_one_caption_also_of_named_segments(tmp_path: Path) -> None:
    (tmp_path / "talk.srt").write_text(SRT)
    rows = [
        {"id": name, "path": tmp_path / "talk.mp4", "start": 0.0, "end": end}
        for name, end in (("whole", 70.0), ("start", 3.0))
    ]
    corpus = write_corpus(tmp_path / "c", "talks", rows)
    done = caption(corpus, Captioning(captioner=Files(path=str(tmp_path / "talk.srt"), join=True)))
    assert [(c.video, c.text, c.time) for c in done.corpus.captions] == [
        ("whole", "Hello there. General Kenobi & co. Far away.", None),
        ("start", "Hello there. General Kenobi & co.", None),
    ]


def test_class_names_become_sentences_that_are_known_to_carry_the_label(corpus: Corpus, run: Run) -> None:
    code, out, _ = run("caption", corpus.folder, "captioner=Templates", "captioner.templates=a video of {},someone: {}")
    assert code == 0
    assert "10 captions of 5 videos" in out
    table = pandas.read_parquet(corpus.folder / "captions.parquet")
    assert table["text"].tolist()[:4] == [
        "a video of Apply Eye Makeup", "someone: Apply Eye Makeup", "a video of jump rope", "someone: jump rope",
    ]  # fmt: skip
    assert set(table["prompt"]) == {"a video of {}", "someone: {}"}
    assert set(table["source"]) == {"template"}
    assert share_that_names_the_label(Corpus.open(corpus.folder), "template") == 1.0
    assert run("caption", corpus.folder, "captioner=Templates", "captioner.templates=no place")[0] == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.json", '{"ApplyEyeMakeup": "a brush touches a face", "jump_rope": ["feet leave the ground"]}'),
        ("d.csv", "label,caption\nApplyEyeMakeup,a brush touches a face\njump_rope,feet leave the ground\n"),
        (
            "d.jsonl",
            '{"label": "ApplyEyeMakeup", "text": "a brush touches a face"}\n'
            '{"class": "jump_rope", "text": "feet leave the ground"}\n',
        ),
    ],
)
def test_descriptions_written_without_looking_are_marked_though_they_do_not_name_the_label(
    name: str, text: str, corpus: Corpus, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    done = caption(corpus, Captioning(captioner=Descriptions(path=str(tmp_path / name))))
    assert [c.text for c in done.corpus.captions][:2] == ["a brush touches a face", "feet leave the ground"]
    assert {(c.source, c.model) for c in done.corpus.captions} == {("vision-free", "label")}
    assert share_that_names_the_label(done.corpus, "vision-free") == 1.0
    (tmp_path / name).write_text(text.replace("jump_rope", "JumpRope"))
    with pytest.raises(CorpusError, match=r"describes 1 of 2 classes of the corpus; add the others .first: jump_"):
        caption(corpus, Captioning(captioner=Descriptions(path=str(tmp_path / name))))


def test_sources_stand_side_by_side_and_a_table_of_an_earlier_version_is_read(corpus: Corpus, tmp_path: Path) -> None:
    before = corpus.fingerprint()
    early = pandas.DataFrame({"video": ["clip 0"], "text": ["kept"], "source": ["caption"], "time": [None]})
    early.astype({"time": float}).to_parquet(corpus.folder / "captions.parquet")
    corpus = Corpus.open(corpus.folder)
    assert [(c.text, c.time, c.model, c.prompt) for c in corpus.captions] == [("kept", None, None, None)]
    assert corpus.fingerprint() != before
    (tmp_path / "a.csv").write_text(FORMATS["a.csv"])
    caption(corpus, Captioning(captioner=Files(path=str(tmp_path / "a.csv"))))
    done = caption(corpus, Captioning(captioner=Templates(), source="mine"))
    assert [(c.text, c.source) for c in done.corpus.captions][:2] == [("kept", "caption"), ("a cat, asleep", "caption")]
    assert done.corpus.sources == ["caption", "mine"]
    done = caption(corpus, Captioning(captioner=Files(path=str(tmp_path / "a.csv")), replace=True))
    assert sorted(c.text for c in done.corpus.captions if c.source == "caption") == [
        "a cat, asleep",
        "a dog",
        "it wakes up",
    ]
    with pytest.raises(CorpusError, match=r"source 'caption' are there already, by people; name the new ones with"):
        caption(corpus, Captioning(captioner=Templates(), source="caption"))


def test_files_that_fit_nothing_are_refused_in_one_line(corpus: Corpus, tmp_path: Path, run: Run) -> None:
    for name, text, said in (
        (
            "x.csv",
            "video,caption\nnobody,hello\n",
            "says nothing of these videos (1 row, none of them used: line 2: nobody is none",
        ),
        ("x.json", "[1, 2]", "is no list of objects"),
        ("x.jsonl", '{"video": "clip 0"}', "needs a video and a caption in every object"),
        ("y.jsonl", "{video", "is no JSON"),
        ("z.csv", "video,weather\nclip 0,sun\n", "has no column caption"),
    ):
        (tmp_path / name).write_text(text)
        code, _, err = run("caption", corpus.folder, "captioner=Files", f"captioner.path={tmp_path / name}")
        assert (code, err.count("\n")) == (2, 1), err
        assert said in err
    assert (
        "there is no file or folder nowhere"
        in run("caption", corpus.folder, "captioner=Files", "captioner.path=nowhere")[2]
    )
    assert "name the file that holds the captions" in run("caption", corpus.folder, "captioner=Files")[2]
    assert "did you mean captioner.path?" in run("caption", corpus.folder, "captioner=Files", "captioner.pth=x")[2]
    assert Corpus.open(corpus.folder).captions == []


def test_rows_of_captions_that_are_not_used_are_counted_and_refused_where_asked(
    corpus: Corpus, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "a.csv").write_text("video,caption,time\nclip 0,a cat,\nelsewhere,a dog,\nclip 1,,\n")
    words = ("caption", corpus.folder, "captioner=Files", f"captioner.path={tmp_path / 'a.csv'}")
    code, _, err = run(*words, "captioner.strict=True")
    assert (code, err.count("\n")) == (2, 1)
    assert (
        "a.csv: 2 of 3 rows cannot be used (line 3: elsewhere is none of the videos; line 4: clip 1 has no text)" in err
    )
    code, out, _ = run(*words)
    assert code == 0
    assert "a.csv: 1 row used, 2 unused (line 3: elsewhere is none of the videos; line 4: clip 1 has no text)" in out
    (tmp_path / "a.csv").write_text("video,caption\nclip 0,a cat, asleep\n")
    assert "line 2 has 3 cells" in run(*words)[2]
    (tmp_path / "a.csv").write_bytes("video,caption\nclip 0,Kätzchen\n".encode("utf-16"))
    assert run(*words)[0] == 0
    assert [c.text for c in Corpus.open(corpus.folder).captions] == ["a cat", "Kätzchen"]


def test_descriptions_of_no_class_of_the_corpus_are_counted(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("label,caption\nApplyEyeMakeup,a brush\njump_rope,feet\nknitting,needles\n")
    done = caption(corpus, Captioning(captioner=Descriptions(path=str(tmp_path / "d.csv"))))
    assert done.remarks == ("d.csv: 2 rows used, 1 unused (line 4: no video has the label knitting)",)
