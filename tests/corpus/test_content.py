"""What a file holds is known by one digest: it stands in the table, and files are read only where they may differ."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from tubelet.corpus.content import content_columns, content_of
from tubelet.corpus.index import index
from tubelet.corpus.schema import LATER
from tubelet.corpus.table import Corpus
from tubelet.synthetic import Size, write_synth
from tubelet.video import content


def digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def test_the_table_says_what_every_readable_file_holds(clips_folder: Path, tmp_path: Path) -> None:
    corpus = index([clips_folder], tmp_path / "c")
    for video in corpus.select("all"):
        stat = video.path.stat()
        assert (video.content, video.size, video.modified) == (digest(video.path), stat.st_size, stat.st_mtime_ns)


def test_the_table_of_the_synthetic_dataset_says_it_too(tmp_path: Path) -> None:
    write_synth(tmp_path / "s", Size(train=2, test=1, pixels=32, frames=4))
    assert [video.content for video in Corpus.open(tmp_path / "s").videos] == [
        digest(video.path) for video in Corpus.open(tmp_path / "s").videos
    ]


def test_a_table_without_the_columns_opens_and_has_the_same_fingerprint(clips_folder: Path, tmp_path: Path) -> None:
    corpus = index([clips_folder / "up"], tmp_path / "c")
    fingerprint, digests = corpus.fingerprint(), [bytes.fromhex(video.content or "") for video in corpus.videos]
    table = pyarrow.parquet.read_table(tmp_path / "c" / "videos.parquet")
    pyarrow.parquet.write_table(
        table.drop_columns([name for name in LATER if name in table.column_names]), tmp_path / "c" / "videos.parquet"
    )
    old = Corpus.open(tmp_path / "c")
    assert old.fingerprint() == fingerprint
    assert {video.content for video in old.videos} == {None}
    assert [content_of(video) for video in old.videos] == digests


def test_a_file_is_read_only_where_size_or_time_differ(
    clips_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(clips_folder / "up", tmp_path / "v")
    first, second, *_ = index([tmp_path / "v"], tmp_path / "c").videos
    read: list[Path] = []
    whole: Callable[[Path], bytes] = content.digest_of_file
    monkeypatch.setattr(content, "digest_of_file", lambda path: read.append(path) or whole(path))
    assert content_of(first) == bytes.fromhex(first.content or "")
    assert not read
    os.utime(first.path, ns=(1, 1))
    assert content_of(first) == bytes.fromhex(first.content or ""), "a touched file holds what it held"
    second.path.write_bytes(first.path.read_bytes())
    assert content_of(second) == content_of(first) != bytes.fromhex(second.content or "")
    assert read == [first.path, second.path]
    second.path.unlink()
    assert content_of(second) is None


def test_an_image_sequence_is_its_frames_in_order(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    for name, frames in (("a", "xyz"), ("b", "xyz"), ("c", "xzy")):
        for number, text in enumerate(frames):
            (tmp_path / name / f"{number:05d}.jpg").write_text(text)
    a, b, c = (content_columns(tmp_path / name) for name in ("a", "b", "c"))
    assert a["content"] == b["content"] != c["content"]
    assert (a["size"], c["size"]) == (3, 3)
