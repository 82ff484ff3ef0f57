"""What must stand beside a number: who has seen the split, and whether a caption says the label."""

from dataclasses import replace

import pytest

from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, RunError
from tubelet.evaluations.contamination import Contamination, names, share_that_names_the_label
from tubelet.evaluations.trained_on import ALIGNER, CLASSIFIER, ENCODER, TrainedOn, clips_of


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A red star spins.", "spins"),
        ("a star is spinning", "spins"),
        ("it bounced twice", "bounces"),
        ("Someone is JUMPING ROPE", "JumpRope"),
        ("applying make-up to the eyes", "apply_eye"),
        ("the ball circles", "circles"),
    ],
)
def test_a_caption_names_its_label_in_any_form(text, label):
    assert names(text, label)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("a red star", "spins"),
        ("a star among circles", "spins"),
        ("a rope", "JumpRope"),
        ("the sun", ""),
        ("grow", "ow"),
    ],
)
def test_a_caption_without_the_label_does_not(text, label):
    assert not names(text, label)


def corpus_with(folder, contents=("v0", "v1", "v2", "v3")):
    """Four files that hold these texts, two of train and two of test."""
    folder.mkdir()
    videos = []
    for i, content in enumerate(contents):
        (folder / f"{i}.mp4").write_text(content)
        label, split = ("spins", "grows")[i % 2], ("train", "test")[i // 2]
        videos.append({"id": f"v{i}", "path": f"{i}.mp4", "label": label, "split": split, "end": 1.0})
    captions = [{"video": f"v{i}", "text": "a star spins", "source": "both"} for i in range(4)]
    captions += [{"video": f"v{i}", "text": "a star", "source": "subject"} for i in range(3)]
    return write_corpus(folder, "leaky", videos, captions)


@pytest.fixture
def corpus(tmp_path):
    return corpus_with(tmp_path / "corpus")


def trained(corpus, split="train", role=ENCODER, told=None, unknown=()):
    return TrainedOn(clips_of(corpus, corpus.select(split), role, told), unknown)


def leaks_of(corpus, record, source=None, guided=True, compared=True):
    return Contamination.of(corpus, record, guided=guided, compared=compared, source=source)


def test_the_share_is_of_videos_with_caption_and_label_by_source(corpus):
    assert share_that_names_the_label(corpus, "both") == 0.5
    assert share_that_names_the_label(corpus, "subject") == 0.0
    assert share_that_names_the_label(corpus, None) == 0.5
    assert share_that_names_the_label(corpus, "both", {"v0": "star", "v1": "star"}) == 1.0


def test_who_has_seen_what_is_known_by_content_and_said(corpus, tmp_path):
    record = trained(corpus) + trained(corpus, role=ALIGNER, told="captions")
    assert leaks_of(corpus, record).splits == {"encoder": ["train"], "aligner": ["train"]}
    assert "of leaky, the encoder was trained on: train" in leaks_of(corpus, record).lines()
    assert leaks_of(corpus, trained(corpus, "all")).splits["encoder"] == ["test", "train"]
    swapped = corpus_with(tmp_path / "swapped", ("v2", "v3", "v0", "v1"))
    assert leaks_of(swapped, record).splits == {"encoder": ["test"], "aligner": ["test"]}
    others = corpus_with(tmp_path / "others", ("w0", "w1", "w2", "w3"))
    assert leaks_of(others, record).splits == {"encoder": [], "aligner": []}


def test_what_is_not_known_is_said_to_be_unknown_never_nothing(corpus):
    leaks = leaks_of(corpus, TrainedOn(unknown=("encoder of runs/old keeps no record",)), compared=False, guided=False)
    assert leaks.splits["encoder"] == ["unknown"]
    assert leaks.lines() == [
        "of leaky, the encoder was trained on: unknown",
        "aligner: not used by this run",
        "encoder of runs/old keeps no record",
    ]  # fmt: skip


def test_what_a_run_began_with_has_seen_counts_too_and_is_named(corpus):
    record = trained(corpus) + trained(corpus, "test").inherited("runs/first")
    leaks = leaks_of(corpus, record)
    assert leaks.splits["encoder"] == ["test", "train"]
    assert leaks.of_split("test").warnings() == [
        "2 of 2 clips of test were trained on by the encoder of runs/first (v2, v3)"
    ]


@pytest.mark.parametrize("role", [ALIGNER, CLASSIFIER])
def test_clips_whose_answers_were_trained_on_are_refused_by_name_unless_allowed(corpus, role):
    leaks = leaks_of(corpus, trained(corpus, "all", role, "captions"))
    with pytest.raises(CorpusError, match=rf"the {role} was trained on 2 of 2 clips .*\(v2, v3\).*--allow-seen"):
        leaks.raise_if_trained_on("test", allowed=False)
    leaks.raise_if_trained_on("test", allowed=True)


def test_an_encoder_that_was_told_captions_knows_the_answers_where_texts_are_compared(corpus):
    leaks = leaks_of(corpus, trained(corpus, "all", told="captions"))
    leaks.raise_if_trained_on("test", allowed=False)
    with pytest.raises(CorpusError, match=r"the encoder was trained on 2 of 2 clips .*--allow-seen"):
        leaks.raise_if_trained_on("test", allowed=False, compares_text=True)
    leaks_of(corpus, trained(corpus, "all")).raise_if_trained_on("test", allowed=False, compares_text=True)


def test_clips_that_the_aligner_was_not_trained_on_are_measured(corpus):
    leaks = leaks_of(corpus, trained(corpus, role=ALIGNER, told="captions"))
    leaks.raise_if_trained_on("test", allowed=False)
    with pytest.raises(CorpusError, match="--allow-seen"):
        leaks.raise_if_trained_on("all", allowed=False)


def test_another_segment_of_the_same_file_was_not_trained_on(tmp_path):
    (tmp_path / "a.mp4").write_text("long")
    spans = [("a#0", 0.0, 2.0, "train"), ("a#1", 1.0, 3.0, "test"), ("a#2", 2.0, 4.0, "test")]
    rows = [{"id": i, "path": "a.mp4", "start": s, "end": e, "split": split} for i, s, e, split in spans]
    corpus = write_corpus(tmp_path, "long", rows)
    assert list(leaks_of(corpus, trained(corpus)).of_split("test").same) == ["a#1"]


def test_a_clip_that_was_looked_at_and_the_same_that_was_not_are_recorded_once(corpus):
    """As where a run goes on after a kill that came when its record was finished."""
    blank = trained(corpus)
    looked = replace(blank, clips=tuple(replace(clip, looks=b"small frames") for clip in blank.clips))
    assert blank.clips
    assert blank + looked == looked + blank == looked


def test_a_record_reads_as_it_was_written_and_damage_is_refused(corpus, tmp_path):
    record = trained(corpus, told="captions", unknown=("encoder began elsewhere",))
    record.write(tmp_path / "trained_on.parquet")
    assert TrainedOn.read(tmp_path / "trained_on.parquet") == record
    assert TrainedOn.read(tmp_path / "none.parquet") is None
    content = bytearray((tmp_path / "trained_on.parquet").read_bytes())
    content[len(content) // 3] ^= 1
    (tmp_path / "trained_on.parquet").write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        TrainedOn.read(tmp_path / "trained_on.parquet")


def test_a_run_guided_by_captions_that_name_the_label_is_marked_and_no_other(corpus):
    [mark] = leaks_of(corpus, trained(corpus), source="both").warnings()
    assert mark.startswith("caption names the label in 50%")
    assert leaks_of(corpus, trained(corpus), source="subject").warnings() == []
    assert leaks_of(corpus, trained(corpus), source="both", guided=False).warnings() == []
