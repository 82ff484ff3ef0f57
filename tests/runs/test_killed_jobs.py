"""kill -9 of a worker, and of the whole job, then the same call: the same bytes, and no shard computed twice."""

import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from support import killed
from tubelet.aligners.config import Shape
from tubelet.aligners.small import SmallAligner, Towers
from tubelet.aligners.vocabulary import Vocabulary
from tubelet.corpus.index import index
from tubelet.corpus.table import write_corpus
from tubelet.video.writer import write_video

VIDEOS = 13


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 good videos and a bad one, a corpus of them with captions, and an aligner."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "videos").mkdir()
    for number in range(VIDEOS - 1):
        frames = np.random.default_rng(number).integers(0, 256, (8, 32, 40, 3)).astype(np.uint8)
        write_video(folder / "videos" / f"{number:02}.mp4", frames, 8.0)
    (folder / "videos" / "bad.mp4").write_text("no video")
    found = index([folder / "videos"], folder / "corpus")
    rows = [{**vars(video), "status": "ok", "reason": ""} for video in found.videos]
    for row in rows:
        del row["row"]
    captions = [{"video": row["id"], "text": f"a red {'half' if n % 2 else 'bar'}"} for n, row in enumerate(rows)]
    write_corpus(folder / "corpus", "killed", rows, captions)
    torch.manual_seed(0)
    shape, words = Shape(side=32, width=8, depth=1, text_width=8, joint=8), Vocabulary.of(["a red half", "a red bar"])
    SmallAligner(shape, words, Towers(shape, words.size)).save(folder / "aligner")
    return folder


def position(job: str, folder: Path, tmp_path: Path, name: str) -> Path:
    """Where a job writes: a new corpus, or a copy of the one that is there."""
    if job == "text":
        shutil.copytree(folder / "corpus", tmp_path / name)
    return tmp_path / (f"{name}.parquet" if job == "embed" else name)


def result(job: str, out: Path) -> object:
    """All that the job made, as bytes and values."""
    if job == "text":
        (series,) = [path for path in (out / "maps" / "text").iterdir() if path.is_dir()]
        return Counter(path.read_bytes() for path in series.glob("shard-*.arrow")), (
            series / "failed.jsonl"
        ).read_text()
    table = out if job == "embed" else out / "videos.parquet"
    return pq.read_table(table).to_pylist()


def kept_at(job: str, out: Path) -> int:
    """How many shards stand."""
    root = {"index": out, "text": out / "maps", "embed": out.with_name(f".{out.name}.partial")}[job]
    return len(list(root.rglob("shard-*.arrow")))


@pytest.mark.parametrize("job", ["index", "text", "embed"])
def test_what_is_killed_in_the_middle_ends_as_if_it_had_not_been(
    job: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = position(job, folder, tmp_path, "undisturbed")
    looked = tmp_path / "undisturbed.txt"
    killed.trace(looked, monkeypatch.setattr)
    done = killed.do(job, folder, undisturbed)
    assert (done.total, done.made, len(done.failed)) == (VIDEOS, VIDEOS - 1, 1)
    assert Counter(looked.read_text().split()).most_common(1)[0][1] == 1

    robbed = position(job, folder, tmp_path, "robbed")
    done = killed.do(job, folder, robbed, killed.killing_a_worker())
    assert (done.made, len(done.failed)) == (VIDEOS - 1, 1)
    assert result(job, robbed) == result(job, undisturbed)

    stopped, looked = position(job, folder, tmp_path, "stopped"), tmp_path / "stopped.txt"
    program = [sys.executable, killed.__file__, job, str(folder), str(stopped), str(looked)]
    assert subprocess.run(program, check=False).returncode == -signal.SIGKILL
    shards, before = kept_at(job, stopped), Counter(looked.read_text().split())
    assert shards >= 1
    monkeypatch.undo()
    killed.trace(looked, monkeypatch.setattr)
    done = killed.do(job, folder, stopped)
    assert done.there >= shards
    assert done.there + done.made == VIDEOS - 1
    assert result(job, stopped) == result(job, undisturbed)
    twice = [name for name, times in Counter(looked.read_text().split()).items() if times > 1]
    assert len(twice) <= sum(before.values()) - done.there, "only videos of shards that were not whole"
    assert kept_at(job, undisturbed) == (kept_at(job, stopped))
