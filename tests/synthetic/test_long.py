"""`synth-long-1`: what it promises of scenes, moments, orders and light."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tubelet import cli
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.synthetic import Size, synth, truth, truth_in_words
from tubelet.synthetic.long import ORDERED, ORDERS, RESTS, SCENES, draw_story, moments_of, render_story
from tubelet.video.reader import read_span

GOLDEN = "56065190ec0f1c5471fc24efd2cc49ae830d437d15d380f16716b2b570f3a5e4"


def test_what_synth_long_1_shows_never_changes() -> None:
    digest = hashlib.sha256()
    for index, seed, split in [(0, 0, "train"), (7, 0, "train"), (3, 1, "test"), (5, 0, "test")]:
        seen, story = render_story(index, seed, split, 48, 8), draw_story(index, seed, split, 8)
        digest.update(seen.frames.tobytes() + seen.truth.owner.tobytes())
        digest.update(repr((story.label, story.verbs, story.cuts)).encode())
    assert digest.hexdigest() == GOLDEN, "that is another version of the corpus"


def test_every_order_shows_the_same_motions_as_often() -> None:
    stories = [draw_story(index) for index in range(24)]
    assert {story.label for story in stories} == {" then ".join(order) for order in ORDERS}
    for story in stories:
        assert sorted(story.verbs) == sorted([*ORDERED, RESTS, RESTS])
        assert story.frames == SCENES * 32
        assert min(scene.frames for scene in story.scenes) >= 20
    assert len({story.verbs.index(RESTS) for story in stories}) > 2, "rests are anywhere"


def test_a_subject_that_rests_stands_still() -> None:
    story = draw_story(0)
    resting = [scene.subject for scene in story.scenes if scene.subject.motion == RESTS]
    for thing in resting:
        for track in (thing.centre, thing.radius, thing.angle, thing.white):
            assert (track == track[0]).all()


def test_the_light_falls_from_the_first_frame_to_the_last() -> None:
    for index in range(4):
        story, seen = draw_story(index), render_story(index, 0, "train", 32, 32)
        assert seen.frames.dtype == np.uint8
        assert max(story.light) < 0.9
        ratio = seen.frames[-8:].mean() / seen.frames[:8].mean()
        assert ratio < 0.95, "scenes differ in brightness, but less than the light"


def test_the_corpus_has_exact_moments_and_a_truth_of_every_frame(tmp_path: Path) -> None:
    corpus = synth(tmp_path / "c", train=3, test=2, size=32, frames=8, kind="synth-long")
    assert len(corpus.videos) == 5
    for number, video in enumerate(corpus.select("train")):
        story = draw_story(number, frames=8)
        assert (video.label, video.frames) == (story.label, 40)
        moments = corpus.moments_by_video[video.id]
        assert [(m.start, m.end, m.label) for m in moments] == moments_of(story, 15)
        assert len(moments) == len(ORDERED)
        assert len(read_span(video.path)[0]) == 40
        known = truth(corpus, video)
        assert known.mask.shape == (40, 32, 32)
        assert known.mask.any((1, 2)).all()
        assert np.isfinite(known.flow).all()
    assert {caption.time is None for caption in corpus.captions} == {False}
    assert truth_in_words(corpus.folder)["order"] == [video.label for video in corpus.videos]
    assert "moments: 15 of 3 classes" in repr(corpus)


def test_moments_are_part_of_what_a_corpus_says(tmp_path: Path) -> None:
    corpus = synth(tmp_path / "c", train=1, test=1, size=32, frames=8, kind="synth-long")
    said = corpus.fingerprint()
    assert list(corpus.to_pandas("moments")) == ["video", "start", "end", "label"]
    (corpus.folder / "moments.parquet").unlink()
    without = Corpus.open(corpus.folder)
    assert without.fingerprint() != said
    with pytest.raises(CorpusError, match="index --moments"):
        without.to_pandas("moments")


def test_more_videos_change_none_and_other_datasets_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "c"
    first = synth(out, train=1, test=1, size=32, frames=8, kind="synth-long")
    before = (first.videos[0].content, first.moments[:3])
    more = ["synth", "--kind", "synth-long", "--out", str(out), "--train", "2", "--test", "1", "--size", "32"]
    assert cli.main([*more, "--frames", "8", "--workers", "1"]) == 0
    grown = Corpus.open(out)
    assert (grown.videos[0].content, grown.moments[:3]) == before
    assert "synth-long-1" in capsys.readouterr().out
    with pytest.raises(CorpusError, match="holds synth-long-1 with version"):
        synth(out, train=2, test=1, size=32, frames=8)
    with pytest.raises(CorpusError, match="no synthetic dataset 'synth-9'; one of: synth-1, synth-2, synth-long"):
        Size.of("synth-9")
    with pytest.raises(CorpusError, match="datasets of their own"):
        Size(long=True, context=0.5)


def test_the_size_of_each_dataset_is_its_own_where_none_is_said() -> None:
    assert Size.of("synth-1") == Size()
    assert Size.of("synth-2") == Size(faces=True)
    assert Size.of("synth-long") == Size(180, 60, pixels=64, long=True)
