"""Decoded frames kept on disk: what they hold, when they are made anew, how damage is noticed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, VideoError
from tubelet.stores import frame_cache as module
from tubelet.stores.frame_cache import Frames, Part, kept_size
from tubelet.video.reader import read_span


@pytest.fixture
def fresh(make_corpus: Callable[..., Corpus], tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path / "fresh")


def test_every_frame_is_kept_as_it_was_decoded(fresh: Corpus) -> None:
    kept = Frames.of(fresh, 40)
    assert len(kept) == 10
    for video in fresh.videos:
        frames, times = read_span(video.path)
        with kept.open(video) as one:
            np.testing.assert_array_equal(one.all, frames)
            np.testing.assert_array_equal(one.times, times)
            np.testing.assert_array_equal(one.frames([-1.0, 0.31, 99.0]), frames[[0, 3, -1]])


def test_frames_are_made_smaller_but_never_larger(fresh: Corpus) -> None:
    with Frames.of(fresh, 20).open(fresh.videos[0]) as one:
        assert one.all.shape == (20, 20, 24, 3)
    with Frames.of(fresh, 100).open(fresh.videos[0]) as one:
        assert one.all.shape == (20, 40, 48, 3)
    assert kept_size(1080, 1920, 96) == (96, 171)
    assert kept_size(1, 1, 96) == (1, 1)


def test_they_are_made_once_and_again_when_a_file_changes(fresh: Corpus, tmp_path: Path) -> None:
    made: list[int] = []
    own = tmp_path / "own.mp4"
    own.write_bytes(fresh.videos[0].path.read_bytes())
    corpus = write_corpus(tmp_path / "c", "c", [{"id": "x", "path": own, "end": 2.0}])
    for _ in range(2):
        Frames.of(corpus, 40, progress=lambda done, total, what: made.append(done))
    assert made == [0, 1]
    own.write_bytes(fresh.videos[4].path.read_bytes())
    Frames.of(corpus, 40, progress=lambda done, total, what: made.append(done))
    assert made == [0, 1, 0, 1]


def test_damage_is_noticed_and_mended(fresh: Corpus) -> None:
    kept = Frames.of(fresh, 40)
    [part] = kept.parts
    path = part.folder / "frames.bin"
    want = kept.open(fresh.videos[3]).all.copy()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        Part(part.folder).verify()
    np.testing.assert_array_equal(Frames.of(fresh, 40).open(fresh.videos[3]).all, want)
    (part.folder / "index.npz").write_bytes(b"")
    np.testing.assert_array_equal(Frames.of(fresh, 40).open(fresh.videos[3]).all, want)


def test_a_file_that_does_not_decode_is_remembered_with_its_reason(fresh: Corpus, tmp_path: Path) -> None:
    rows = [{"id": "good", "path": fresh.videos[0].path, "end": 2.0}, {"id": "gone", "path": "gone.mp4", "end": 2.0}]
    corpus = write_corpus(tmp_path / "c", "c", rows)
    kept = Frames.of(corpus, 40)
    assert len(kept) == 1
    with pytest.raises(VideoError, match="no such file"):
        kept.open(corpus.videos[1])


def test_a_disk_too_small_is_said_before_anything_is_decoded(fresh: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "expected_bytes", lambda videos, short_side: 1 << 60)
    with pytest.raises(CorpusError, match=r"need 1\.15e\+09 GB .*data\.cache=False"):
        Frames.of(fresh, 40)
    assert not list((fresh.folder / "frames").rglob("*.bin"))


def test_long_videos_are_kept_piece_by_piece(fresh: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 1)
    frames, times = module.decode((fresh.videos[0].path, 0.0, 2.0, None, 40))
    want, when = read_span(fresh.videos[0].path)
    np.testing.assert_array_equal(frames, want)
    np.testing.assert_array_equal(times, when)
