"""What must stand beside a number: who has seen the split, and whether a caption says the label."""

import json

import pytest

from tubelet.data.table import write_corpus
from tubelet.errors import CorpusError
from tubelet.evaluations.leaks import Leaks, names, share_that_names_the_label


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


def corpus_with(tmp_path, aligner: list[str] | None = None):
    videos = [
        {"id": f"v{i}", "path": f"{i}.mp4", "label": ("spins", "grows")[i % 2], "split": ("train", "test")[i // 2]}
        for i in range(4)
    ]
    captions = [{"video": f"v{i}", "text": "a star spins", "source": "both"} for i in range(4)]
    captions += [{"video": f"v{i}", "text": "a star", "source": "subject"} for i in range(3)]
    corpus = write_corpus(tmp_path / "corpus", "leaky", videos, captions)
    if aligner is not None:
        (corpus.folder / "aligner").mkdir()
        about = {"corpus": {"name": "leaky", "fingerprint": corpus.fingerprint(), "splits": aligner}}
        (corpus.folder / "aligner" / "aligner.json").write_text(json.dumps(about))
    return corpus


def test_the_share_is_of_videos_with_caption_and_label_by_source(tmp_path):
    corpus = corpus_with(tmp_path)
    assert share_that_names_the_label(corpus, "both") == 0.5
    assert share_that_names_the_label(corpus, "subject") == 0.0
    assert share_that_names_the_label(corpus, None) == 0.5
    assert share_that_names_the_label(corpus, "both", {"v0": "star", "v1": "star"}) == 1.0


def leaks_of(corpus, split="train", fingerprint=None, source=None, guided=True, compared=True):
    trained = {"name": "leaky", "fingerprint": fingerprint or corpus.fingerprint()}
    return Leaks.of(corpus, trained, split, guided=guided, compared=compared, source=source)


def test_who_has_seen_what_is_said(tmp_path):
    corpus = corpus_with(tmp_path, ["train"])
    assert leaks_of(corpus).seen == {"encoder": ["train"], "aligner": ["train"]}
    assert leaks_of(corpus, split="all").seen["encoder"] == ["test", "train"]
    assert leaks_of(corpus, fingerprint="another").seen["encoder"] == []
    assert leaks_of(corpus, guided=False, compared=False).seen["aligner"] == []
    assert any("encoder has seen of leaky: train" in line for line in leaks_of(corpus).lines())


def test_what_a_run_began_with_has_seen_counts_too(tmp_path):
    corpus = corpus_with(tmp_path)
    elsewhere = {"name": "other", "fingerprint": "another"}
    here = {"name": "leaky", "fingerprint": corpus.fingerprint()}

    def seen(earlier):
        leaks = Leaks.of(corpus, elsewhere, "train", guided=False, compared=False, source=None, earlier=earlier)
        return leaks.seen["encoder"]

    assert seen([]) == []
    assert seen([(here, "train")]) == ["train"]
    assert seen([(here, "train"), (here, "all"), (elsewhere, "validation")]) == ["test", "train"]


def test_a_split_that_the_aligner_has_seen_is_refused_unless_allowed(tmp_path):
    leaks = leaks_of(corpus_with(tmp_path, ["train", "test"]))
    with pytest.raises(CorpusError, match=r"'test'.*--allow-seen"):
        leaks.refuse("test", allowed=False)
    leaks.refuse("test", allowed=True)


def test_a_split_that_the_aligner_has_not_seen_is_measured(tmp_path):
    corpus = corpus_with(tmp_path, ["train"])
    leaks_of(corpus).refuse("test", allowed=False)
    with pytest.raises(CorpusError, match="--allow-seen"):
        leaks_of(corpus).refuse("all", allowed=False)


def test_a_run_guided_by_captions_that_name_the_label_is_marked_and_no_other(tmp_path):
    corpus = corpus_with(tmp_path)
    [mark] = leaks_of(corpus, source="both").marks()
    assert mark.startswith("caption names the label in 50%")
    assert leaks_of(corpus, source="subject").marks() == []
    assert leaks_of(corpus, source="both", guided=False).marks() == []
