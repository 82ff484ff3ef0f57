"""A pack holds what its corpus holds, is read by offset, by tar and by others' names, and is whole or goes on."""

import io
import json
import shutil
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from support.bars import FRAMES, moving
from tubelet.cli import main
from tubelet.corpus.index import index
from tubelet.corpus.pack import even_size, pack
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.parts import Part, PartFinished
from tubelet.jobs.runner import Running
from tubelet.loading.data import Data
from tubelet.loading.loader import eval_batches, train_batches
from tubelet.types import Clip
from tubelet.video.content import content_digest, digest_of_file
from tubelet.video.members import Member, open_bytes
from tubelet.video.reader import read_span
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

CLIP, DATA = Clip(frames=4, size=32), Data(sampling=Sampling(stride=1))


def said(video: Video) -> Video:
    """What does not say where the bytes are, and since when."""
    return replace(video, path=Path(), size=None, modified=None, content=None)


@pytest.fixture(scope="module")
def copied(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return pack(corpus, tmp_path_factory.mktemp("packs") / "copied", copy=True).corpus


def test_a_copy_holds_the_rows_the_captions_and_the_bytes_of_its_corpus(corpus: Corpus, copied: Corpus) -> None:
    assert list(map(said, copied.videos)) == list(map(said, corpus.videos))
    assert copied.captions == corpus.captions
    assert copied.fingerprint() == corpus.fingerprint()
    for video, original in zip(copied.videos, corpus.videos, strict=True):
        assert video.content == digest_of_file(original.path).hex() == content_digest(video.path).hex()
        assert video.size == original.path.stat().st_size


def test_clips_of_a_copy_are_those_of_the_corpus(corpus: Corpus, copied: Corpus) -> None:
    one, other = (
        list(train_batches(some, CLIP, DATA, batch=4, seed=3, first_step=0, last_step=4)) for some in (corpus, copied)
    )
    for mine, theirs in zip(one, other, strict=True):
        assert torch.equal(mine.video, theirs.video)
        assert mine.ids == theirs.ids
        assert not theirs.failed


def test_tar_and_the_table_of_offsets_find_the_same_bytes(corpus: Corpus, copied: Corpus, tmp_path: Path) -> None:
    subprocess.run(["tar", "xf", copied.folder / "shard-000000.tar", "-C", tmp_path], check=True)
    table = pq.read_table(copied.folder / "pack.parquet").to_pylist()
    assert len(table) == len(corpus.videos)
    with tarfile.open(copied.folder / "shard-000000.tar", "r:") as tar:
        members = {member.offset_data: member for member in tar}
    for number, row in enumerate(row for row in table if row["shard"] == "shard-000000.tar"):
        with (copied.folder / row["shard"]).open("rb") as shard:
            shard.seek(row["offset"])
            found = shard.read(row["size"])
        assert found == (tmp_path / f"{number:09d}.mp4").read_bytes() == corpus.by_id[row["id"]].path.read_bytes()
        assert members[row["offset"]].size == row["size"]
        about = json.loads((tmp_path / f"{number:09d}.json").read_text())
        captions = [caption.text for caption in corpus.captions_of(corpus.by_id[row["id"]])]
        assert (about["id"], about["captions"]) == (row["id"], captions)
        assert (tmp_path / f"{number:09d}.txt").read_text() == captions[0]


def test_encoded_anew_a_video_keeps_its_frames_at_their_times(corpus: Corpus, tmp_path: Path) -> None:
    packed = pack(corpus, tmp_path / "pack", size=32, gop=4, crf=4).corpus
    for video in packed.videos:
        before, when = read_span(corpus.by_id[video.id].path)
        after, times = read_span(video.path)
        np.testing.assert_allclose(times, when, atol=1e-4)
        height, width = even_size(*before.shape[1:3], 32)
        assert after.shape == (len(before), height, width, 3)
        assert (video.height, video.width, video.codec, video.frames) == (height, width, "h264", len(before))
        assert abs(after.mean((1, 2)) - before.mean((1, 2))).max() < 8
        with open_bytes(video.path) as file:
            head = file.read(4096)
        assert head.index(b"moov") < head.index(b"mdat"), "the index is first"
        with open_bytes(video.path) as file, av.open(io.BytesIO(file.read())) as container:
            keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
        where = [at for at, key in enumerate(keys) if key]
        assert where[0] == 0
        assert max(np.diff([*where, len(keys)])) <= 4, "a key frame every 4 frames, or where a scene begins"


def test_a_bad_file_fails_alone_and_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clips_folder: Path
) -> None:
    rows = [{"id": f"{n}.mp4", "path": clips_folder / "up" / f"clip {n}.mp4", "end": 2.0} for n in range(3)]
    rows.append({"id": "bad.mp4", "path": clips_folder / "broken" / "text.avi", "end": 2.0})
    write_corpus(tmp_path / "c", "c", rows)
    assert main(["pack", str(tmp_path / "c"), "--out", str(tmp_path / "p"), "--size", "32", "--workers", "1"]) == 2
    told = capsys.readouterr()
    assert "3 rows, 1 shard" in told.out
    assert "1 file could not be packed (first: bad.mp4: cannot be opened" in told.err
    assert [video.id for video in Corpus.open(tmp_path / "p").videos] == ["0.mp4", "1.mp4", "2.mp4"]
    assert main(["pack", str(tmp_path / "c"), "--out", str(tmp_path / "p"), "--size", "32"]) == 0, "it stands"
    assert main(["pack", str(tmp_path / "c"), "--out", str(tmp_path / "p"), "--size", "16"]) == 2
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(CorpusError, match="is no pack"):
        pack(tmp_path / "c", tmp_path / "full")


KILLED = """
import os, signal, sys
from tubelet.corpus.pack import pack
from tubelet.jobs import tasks
from tubelet.jobs.runner import Limits, Running
tasks.FEWEST = 2
def stop(done, total, what=""):
    if done >= 5:
        os.kill(os.getpid(), signal.SIGKILL)
pack(sys.argv[1], sys.argv[2], size=32, running=Running(Limits(workers=1)), progress=stop)
"""


def test_killed_or_in_parts_a_pack_ends_as_that_of_one_command(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tubelet.jobs.tasks.FEWEST", 2)
    one = pack(corpus, tmp_path / "one", size=32)
    ended = subprocess.run([sys.executable, "-c", KILLED, corpus.folder, tmp_path / "killed"], check=False)
    assert ended.returncode == -signal.SIGKILL
    before = len(list((tmp_path / "killed").glob("shard-*.tar")))
    again = pack(corpus, tmp_path / "killed", size=32)
    assert before == 2
    assert (again.done.there, again.done.made) == (4, 6)
    for number in (3, 1):
        with pytest.raises(PartFinished):
            pack(corpus, tmp_path / "parts", size=32, running=Running(part=Part(number, 3)))
    pack(corpus, tmp_path / "parts", size=32, running=Running(part=Part(2, 3)))
    names = sorted(path.name for path in one.corpus.folder.iterdir())
    for folder in ("killed", "parts"):
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == names
        for path in one.corpus.folder.glob("*.tar"):
            assert path.read_bytes() == (tmp_path / folder / path.name).read_bytes(), path


def test_tar_files_of_others_are_indexed_where_they_lie(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving(FRAMES, 40, 48), 10.0)
    content = (tmp_path / "a.mp4").read_bytes()
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard:05d}.tar", "w") as tar:
            for name, text in (
                ("000.mp4", content), ("000.json", b'{"caption": "a bar walks", "label": 7}'),
                ("001.mp4", content), ("001.txt", b"it walks\n"), ("001.cls", b"3"), ("002.jpg", b"no video"),
                ("sub/003.webm", b"no video at all"),
            ):  # fmt: skip
                info = tarfile.TarInfo(name)
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
    found = index([tmp_path / "00000.tar", tmp_path / "00001.tar"], tmp_path / "c")
    rows = {video.id: (video.status, video.label) for video in found.videos}
    assert rows == {
        f"{shard}/{name}": what
        for shard in ("00000", "00001")
        for name, what in (("000.mp4", ("ok", "7")), ("001.mp4", ("ok", "3")), ("sub/003.webm", ("unreadable", None)))
    }
    assert {(c.video, c.text) for c in found.captions if c.video.startswith("00001")} == {
        ("00001/000.mp4", "a bar walks"), ("00001/001.mp4", "it walks"),
    }  # fmt: skip
    frames, _ = read_span(tmp_path / "a.mp4")
    np.testing.assert_array_equal(read_span(found.by_id["00001/001.mp4"].path)[0], frames)
    assert [video.status for video in index([], tmp_path / "c", update=True).select("all")] == ["ok"] * 4
    (tmp_path / "zipped.tar").write_bytes(b"\x1f\x8b not a tar")
    with pytest.raises(CorpusError, match="cannot be read as an uncompressed tar file"):
        index(tmp_path / "zipped.tar", tmp_path / "d")


def test_a_shard_that_is_gone_or_cut_says_so(copied: Corpus, tmp_path: Path) -> None:
    video = copied.videos[-1]
    member = Member.of(video.path)
    assert member is not None
    assert Member.of("clip.mp4") is None
    cut = tmp_path / "cut.tar"
    cut.write_bytes(member.container.read_bytes()[: member.offset + 10])
    with pytest.raises(VideoError, match=r"cut\.tar ends before it"):
        read_span(replace(member, container=cut).path)
    with pytest.raises(VideoError, match="no such file"):
        read_span(replace(member, container=tmp_path / "gone.tar").path)


def test_a_flipped_bit_of_a_packed_video_is_found_when_a_clip_of_it_is_read(copied: Corpus, tmp_path: Path) -> None:
    shutil.copytree(copied.folder, tmp_path / "pack")
    damaged = Corpus.open(tmp_path / "pack").select("train")[0]
    member = Member.of(damaged.path)
    assert member is not None
    with member.container.open("r+b") as shard:
        shard.seek(member.offset + member.size // 2)
        byte = shard.read(1)
        shard.seek(-1, 1)
        shard.write(bytes([byte[0] ^ 16]))
    corpus = Corpus.open(tmp_path / "pack")
    batches = eval_batches(corpus, corpus.select("train"), CLIP, DATA, batch=4)
    failed = [name for batch in batches for name in batch.failed]
    assert failed == [
        f"{damaged.id}: its bytes in {member.container.name} are not those that were packed; "
        "restore that file or pack it anew"
    ]
