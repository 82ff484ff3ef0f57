"""A table that is too large for memory says what the same table says in memory."""

import pickle
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tubelet.corpus import on_disk
from tubelet.corpus.on_disk import BATCH, Copy, RowsOnDisk
from tubelet.corpus.schema import VIDEOS, fitted
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError
from tubelet.loading.data import Data

COUNT = 2 * BATCH + 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose table is written in groups of 700 rows."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "id": f"video {n}", "path": f"videos/{n}.mp4", "end": float(rng.random()), "frames": n, "fps": 30.0,
            "label": f"class {n % 7}" if n % 5 else None, "split": ("train", "test", "val")[n % 3],
            "status": "ok" if n % 11 else "unreadable", "content": f"{n:032x}" if n % 2 else None,
            "reading": "square" if n % 4 == 0 else None,
        }
        for n in range(COUNT)
    ]  # fmt: skip
    corpus = write_corpus(tmp_path_factory.mktemp("large"), "large", rows)
    table = pq.read_table(corpus.folder / "videos.parquet").replace_schema_metadata(None)
    pq.write_table(table, corpus.folder / "videos.parquet", row_group_size=700)
    return corpus.folder


@pytest.fixture
def small(folder: Path) -> Corpus:
    return Corpus.open(folder)


@pytest.fixture
def large(folder: Path, monkeypatch: pytest.MonkeyPatch, small: Corpus) -> Corpus:
    assert isinstance(small.videos, list)
    _ = small.large, small.labels, small.fingerprint()
    monkeypatch.setattr(on_disk, "LARGE", 100)
    return Corpus.open(folder)


def test_every_row_every_selection_and_the_fingerprint_are_those_in_memory(small: Corpus, large: Corpus) -> None:
    assert isinstance(large.videos, RowsOnDisk)
    assert list(large.videos) == small.videos
    for split in ("all", "train", "test", "nothing"):
        assert list(large.select(split)) == small.select(split)
    assert large.videos[-1] == small.videos[-1]
    assert list(large.select("test")[5:9]) == small.select("test")[5:9]
    assert (large.labels, large.fingerprint()) == (small.labels, small.fingerprint())
    assert list(Data(limit=7).select(large)) == Data(limit=7).select(small)
    with pytest.raises(IndexError):
        large.videos[COUNT]


def test_a_view_travels_to_other_processes_as_a_name(small: Corpus, large: Corpus) -> None:
    view = large.select("val")
    sent = pickle.dumps(view)
    assert len(sent) < 20_000
    assert list(pickle.loads(sent)[:3]) == small.select("val")[:3]


def test_a_table_of_an_earlier_version_is_read_as_one_of_now(small: Corpus, large: Corpus, tmp_path: Path) -> None:
    shutil.copytree(large.folder, tmp_path / "old")
    table = pq.read_table(tmp_path / "old" / "videos.parquet").drop_columns(["reading", "size"])
    pq.write_table(table, tmp_path / "old" / "videos.parquet")
    old = Corpus.open(tmp_path / "old").videos
    assert isinstance(old, RowsOnDisk)
    assert (old[8].reading, old[9].content, old[9].size) == (None, small.videos[9].content, None)


def test_a_copy_of_another_table_or_a_torn_one_is_made_again_and_a_damaged_one_refused(
    large: Corpus, tmp_path: Path
) -> None:
    assert len(large.videos) == COUNT
    shutil.copytree(large.folder, tmp_path / "c")
    copy = tmp_path / "c" / "videos.arrow"
    rows = pq.read_table(tmp_path / "c" / "videos.parquet", schema=VIDEOS)
    pq.write_table(rows.slice(1), tmp_path / "c" / "videos.parquet")
    assert Corpus.open(tmp_path / "c").videos[0].id == "video 1"
    copy.write_bytes(copy.read_bytes()[:5000])
    assert Corpus.open(tmp_path / "c").videos[0].id == "video 1"
    content = bytearray(copy.read_bytes())
    content[content.index(b"video 7video")] = ord("w")
    copy.write_bytes(content)
    with pytest.raises(CorpusError, match=r"videos.arrow is damaged in rows 0 and following; delete it"):
        Copy(tmp_path / "c" / "videos.parquet", partial(fitted, schema=VIDEOS)).row(6)


def test_in_a_folder_that_cannot_be_written_the_table_is_read_all_the_same(
    small: Corpus, large: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(on_disk, "write_copy", refuse)
    shutil.copytree(large.folder, tmp_path / "c", ignore=shutil.ignore_patterns("*.arrow"))
    assert [video.id for video in Corpus.open(tmp_path / "c").videos] == [video.id for video in small.videos]


def test_the_checksum_of_rows_does_not_depend_on_how_they_lie_in_memory() -> None:
    batch = pa.record_batch({"a": pa.array(["x", None, "zz", "y"]), "b": pa.array([1, 2, None, 4])})
    alone = pa.record_batch({"a": pa.array(["zz", "y"]), "b": pa.array([None, 4])})
    assert on_disk.crc32(batch.slice(2)) == on_disk.crc32(alone) != on_disk.crc32(batch.slice(0, 2))
