"""Decoded frames belong to what a file holds: never decoded twice, never another file's."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.stores.frame_cache import Frames
from tubelet.video.reader import read_span


@pytest.fixture
def fresh(make_corpus: Callable[..., Corpus], tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path / "fresh")


def test_a_file_that_is_renamed_touched_or_moved_is_not_decoded_again(
    fresh: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUBELET_SHARE")
    made: list[int] = []
    (tmp_path / "v").mkdir()
    for number in range(2):
        shutil.copy(fresh.videos[number].path, tmp_path / "v" / f"{number}.mp4")

    def corpus(name: str, *files: str) -> Corpus:
        rows = [{"id": file, "path": tmp_path / "v" / file, "end": 2.0} for file in files]
        return write_corpus(tmp_path / name, name, rows)

    def kept(some: Corpus) -> list[np.ndarray]:
        frames = Frames.of(some, 40, progress=lambda done, total, what: made.append(total))
        return [frames.open(video).all.copy() for video in some.videos]

    first, second = kept(corpus("c", "0.mp4", "1.mp4"))
    assert made == [2, 2, 2]
    os.utime(tmp_path / "v" / "0.mp4", ns=(1, 1))
    (tmp_path / "v" / "1.mp4").rename(tmp_path / "v" / "renamed.mp4")
    shutil.copy(fresh.videos[2].path, tmp_path / "v" / "new.mp4")
    again = kept(corpus("c", "renamed.mp4", "0.mp4"))
    beside = kept(corpus("another", "new.mp4", "renamed.mp4", "0.mp4"))
    assert made == [2, 2, 2, 1, 1], "what is new, and nothing else"
    for found in (again[0], beside[1]):
        np.testing.assert_array_equal(found, second)
    for found in (again[1], beside[2]):
        np.testing.assert_array_equal(found, first)
    np.testing.assert_array_equal(beside[0], read_span(fresh.videos[2].path)[0])


def test_a_changed_file_never_gets_the_frames_it_had_even_with_the_same_size(fresh: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    shutil.copy(fresh.videos[0].path, path)
    corpus = write_corpus(tmp_path / "c", "c", [{"id": "x", "path": path, "end": 2.0}])
    before = Frames.of(corpus, 40).open(corpus.videos[0]).all.copy()
    shutil.copy(fresh.videos[4].path, path)
    after = Frames.of(corpus, 40).open(corpus.videos[0]).all
    np.testing.assert_array_equal(after, read_span(path)[0])
    assert not np.array_equal(before, after)
