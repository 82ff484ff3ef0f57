"""A user's own arrays, and features of windows, as tracks."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tubelet
from support.sounds import sound_corpus
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.stores.tracks import Tracks
from tubelet.tracks import ImportedTrack, VectorTrack
from tubelet.types import Vectors


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    return sound_corpus(tmp_path, 4)


def test_arrays_are_read_back_at_their_times_and_evenly_where_they_have_none(corpus, tmp_path):
    (tmp_path / "mine").mkdir()
    arrays = np.random.default_rng(0).normal(size=(3, 6, 5))
    np.save(tmp_path / "mine" / "0.npy", arrays[0])
    np.savez(tmp_path / "mine" / "1.npz", values=arrays[1], times=np.arange(6) * 0.25)
    np.save(tmp_path / "mine" / "2.npy", arrays[2][:, None, None, :])
    filled = tubelet.track(corpus, ImportedTrack(name="depth", files=(str(tmp_path / "mine"),)))
    assert filled.notes == ("1 of 4 videos (first: 3) have no depth; training leaves them out",)
    tracks = Tracks.open(corpus, "depth")
    assert tracks.size == (1, 1, 5)
    for number, expected in enumerate(arrays):
        values, times = tracks.stored(corpus.videos[number])
        np.testing.assert_allclose(values[:, 0, 0], expected, atol=5e-3)
        np.testing.assert_allclose(times, np.arange(6) * 0.25 if number == 1 else (np.arange(6) + 0.5) / 2)
    tracks.check(corpus.videos, Vectors(name="depth", width=5), "streams.depth.signal", corpus.folder)
    again = tubelet.track(corpus, ImportedTrack(name="depth", files=(str(tmp_path / "mine"),)))
    assert again.computed == 0


def test_features_of_windows_are_vectors_of_length_1_at_the_beginning_of_their_window(corpus, tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"id": video.id, "path": str(video.path), "start": start, "end": start + 0.5, "feature": rng.normal(size=8)}
        for video in corpus.videos
        for start in (1.0, 0.0, 0.5)
    ]
    schema = pa.schema(
        [("id", pa.string()), ("path", pa.string()), ("start", pa.float64()), ("end", pa.float64()),
         ("feature", pa.list_(pa.float32(), 8))],
        metadata={b"tubelet": b'{"encoder": "a"}'},
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "features.parquet")
    filled = tubelet.track(corpus, VectorTrack(files=(str(tmp_path / "features.parquet"),)))
    assert (filled.videos, filled.computed) == (4, 4)
    tracks = Tracks.open(corpus, "vectors")
    assert tracks.about["method"]["features"] == ['{"encoder": "a"}'], "what made them is on record"
    values, times = tracks.stored(corpus.videos[2])
    np.testing.assert_allclose(times, [0.0, 0.5, 1.0])
    np.testing.assert_allclose(np.linalg.norm(values[:, 0, 0].astype(float), axis=1), 1, atol=2e-3)
    expected = rows[2 * 3 + 1]["feature"]
    np.testing.assert_allclose(values[0, 0, 0], expected / np.linalg.norm(expected), atol=1e-3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: np.save(folder / "0.npy", np.zeros(5)), "it must be numbers"),
        (lambda folder: np.save(folder / "0.npy", np.full((2, 5), np.nan)), "NaN, infinite"),
        (lambda folder: np.savez(folder / "0.npz", other=np.zeros((2, 5))), "no array `values`"),
        (lambda folder: np.savez(folder / "0.npz", values=np.zeros((2, 5)), times=np.zeros(3)), "must be as many"),
        (lambda folder: (folder / "0.npy").write_bytes(b"no array"), "cannot be read"),
        (lambda folder: np.save(folder / "stranger.npy", np.zeros((2, 5))), "named after no usable video"),
    ],
)
def test_what_is_no_track_is_refused_before_anything_is_written(corpus, tmp_path, make, said):
    (tmp_path / "mine").mkdir()
    make(tmp_path / "mine")
    with pytest.raises(CorpusError, match=said):
        tubelet.track(corpus, ImportedTrack(name="depth", files=(str(tmp_path / "mine"),)))
    assert not (corpus.folder / "tracks").exists()


def test_arrays_of_different_sizes_are_refused_by_name(corpus, tmp_path):
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "mine" / "0.npy", np.zeros((2, 5)))
    np.save(tmp_path / "mine" / "1.npy", np.zeros((2, 6)))
    with pytest.raises(CorpusError, match="a moment of 0 has 1x1x5 values and one of 1 1x1x6"):
        tubelet.track(corpus, ImportedTrack(name="depth", files=(str(tmp_path / "mine"),)))
