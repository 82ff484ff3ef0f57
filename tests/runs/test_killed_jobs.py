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
from tubelet.corpus.write import write_corpus
from tubelet.errors import TubeletError
from tubelet.jobs.parts import Part, PartFinished
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


@pytest.mark.parametrize("job", ["index", "text", pytest.param("embed", marks=pytest.mark.slow)])
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


@pytest.mark.parametrize("job", ["index", "text", pytest.param("embed", marks=pytest.mark.slow)])
def test_parts_in_any_order_one_of_them_killed_make_what_one_command_makes(
    job: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = position(job, folder, tmp_path, "whole")
    killed.trace(tmp_path / "whole.txt", monkeypatch.setattr)
    killed.do(job, folder, whole)
    out, looked = position(job, folder, tmp_path, "parts"), tmp_path / "parts.txt"
    program = [sys.executable, killed.__file__, job, str(folder), str(out), str(looked), "2/3"]
    assert subprocess.run(program, check=False).returncode == -signal.SIGKILL
    monkeypatch.undo()
    killed.trace(looked, monkeypatch.setattr)
    for number, others in ((3, "1/3, 2/3"), (1, "2/3")):
        with pytest.raises(PartFinished, match=f"not yet: {others}$") as said:
            killed.do(job, folder, out, part=Part(number, 3))
        assert said.value.code == 0
    with pytest.raises(TubeletError, match="run --part 2/3,"):
        killed.do(job, folder, out, merge=True)
    done = killed.do(job, folder, out, part=Part(2, 3))
    assert (done.total, done.there, done.made, len(done.failed)) == (VIDEOS, VIDEOS - 1, 0, 1)
    assert result(job, out) == result(job, whole)
    times = Counter(looked.read_text().split())
    assert len(times) == VIDEOS - 1
    assert sum(times.values()) <= VIDEOS - 1 + 2, "the shard in hand of the part that was killed, and no other"
    assert not list(out.rglob("finished-*")), "the next parts are those of another call"


def test_of_parts_that_run_at_once_one_makes_the_corpus_and_all_end_well(folder: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tubelet", "index", str(folder / "videos"), "--out", "corpus", "--name", "killed"]
    parts = [
        subprocess.Popen([*words, "--workers", "1", "--part", f"{number}/3"], cwd=tmp_path, stderr=subprocess.PIPE)
        for number in (1, 2, 3)
    ]
    said = [part.communicate()[1].decode() for part in parts]
    assert [part.returncode for part in parts] == [0, 0, 0], said
    assert sum("is finished" in text for text in said) == 2
    index([folder / "videos"], tmp_path / "one", name="killed")
    assert result("index", tmp_path / "corpus") == result("index", tmp_path / "one")
