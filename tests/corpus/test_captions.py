"""Which caption goes with a clip."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tubelet.corpus.captions import CaptionChoice
from tubelet.corpus.schema import Caption
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError


def captions(*times: float | None) -> list[Caption]:
    return [Caption(row, "v", f"text {row}", "human", time) for row, time in enumerate(times)]


def test_every_caption_is_drawn_alike() -> None:
    choice = CaptionChoice()
    drawn = [choice.choose(captions(None, None, None), (k + 0.5) / 300, 0.0).row for k in range(300)]
    assert [drawn.count(row) for row in range(3)] == [100, 100, 100]


def test_the_nearest_in_time_is_chosen_and_those_without_a_time_wait() -> None:
    choice = CaptionChoice(pick="nearest")
    assert [choice.choose(captions(0.0, None, 4.0, 9.0), 0.9, moment).row for moment in (0.5, 3.0, 99.0)] == [0, 2, 3]
    assert choice.choose(captions(None, None), 0.6, 1.0).row == 1


def test_a_source_is_selected_and_its_absence_said(corpus: Corpus, make_corpus: Callable[..., Corpus]) -> None:
    videos = corpus.select("all")
    assert {c.source for some in CaptionChoice(source="late").candidates(corpus, videos) for c in some} == {"late"}
    assert [len(some) for some in CaptionChoice().candidates(corpus, videos)] == [2] * len(videos)
    with pytest.raises(CorpusError, match=r"no captions of source 'nobody'; it has: early, late; .*None takes all"):
        CaptionChoice(source="nobody").candidates(corpus, videos)


def test_videos_without_a_caption_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    rows = [{"id": name, "path": name, "split": "train"} for name in ("a", "b", "c")]
    corpus = write_corpus(tmp_path, "mine", rows, [{"video": "a", "text": "x"}])
    with pytest.raises(CorpusError, match=r"2 of 3 videos have no caption \(first: b\); write them with `tubelet"):
        CaptionChoice().candidates(corpus, corpus.videos)
    with pytest.raises(CorpusError, match=r"pick=random"):
        CaptionChoice(pick="nearest").candidates(corpus, corpus.videos[:1])
