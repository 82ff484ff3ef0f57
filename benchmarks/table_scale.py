"""What a corpus of very many rows costs: one process for each number of rows, so that peaks are its own.

python benchmarks/table_scale.py FOLDER 10000 100000 1000000 10000000

Rows are made up: ids of 30 characters in folders of a thousand, labels, digests. For each number, one process opens the
corpus (the first time, the copy that is memory-mapped is written), selects the train split, draws the order of an
epoch, reads 1,000 rows in that order, and asks a job for its first shard of tasks. Seconds and peak memory (VmHWM)
after each.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from tubelet.checksums import parquet_writer, write_json, write_parquet
from tubelet.corpus.schema import CAPTIONS, VIDEOS
from tubelet.corpus.table import Corpus
from tubelet.jobs.tasks import Tasks, cut
from tubelet.loading.requests import permutation
from tubelet.saliency_maps.base import task_of, usable

AT_ONCE = 200_000


def make(folder: Path, rows: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with parquet_writer(folder / "videos.parquet", VIDEOS) as writer:
        for first in range(0, rows, AT_ONCE):
            writer.write_table(some_rows(range(first, min(first + AT_ONCE, rows)), rng))
    write_parquet(folder / "captions.parquet", pa.Table.from_pylist([], schema=CAPTIONS))
    write_json(folder / "corpus.json", {"format": 1, "name": "large"})


def some_rows(numbers: range, rng: np.random.Generator) -> pa.Table:
    count = len(numbers)
    ids = [f"part-{number // 1000:05}/video-{number:09}.mp4" for number in numbers]
    lengths = rng.random(count) * 60
    values = {
        "id": ids, "path": [f"/videos/{name}" for name in ids], "start": np.zeros(count), "end": lengths,
        "duration": lengths, "fps": np.full(count, 30.0), "frames": (lengths * 30).astype(int),
        "width": np.full(count, 340), "height": np.full(count, 256), "codec": ["h264"] * count,
        "label": [f"class {number % 400}" for number in numbers], "group": ids,
        "split": ["test" if number % 10 == 0 else "train" for number in numbers], "status": ["ok"] * count,
        "reason": [""] * count, "content": [os.urandom(16).hex() for _ in numbers],
        "size": rng.integers(10**5, 10**7, count), "modified": rng.integers(10**18, 2 * 10**18, count),
    }  # fmt: skip
    return pa.table({f.name: pa.array(values.get(f.name, [None] * count), f.type) for f in VIDEOS}, schema=VIDEOS)


@contextmanager
def measured(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(
        json.dumps({"what": what, "seconds": round(time.monotonic() - began, 3), "MB": round(peak / 1024)}), flush=True
    )


def use(folder: Path) -> None:
    with measured("imports"):
        pass
    with measured("open"):
        corpus = Corpus.open(folder)
        rows = len(corpus.videos)
    with measured("select"):
        train = corpus.select("train")
    assert len(train) == rows - -(-rows // 10)
    with measured("order of an epoch"):
        order = permutation(0, 0, len(train))
    with measured("1,000 samples"):
        assert len({train[int(number)].id for number in order[:1000]}) == 1000
    with measured("first shard of a job"):
        tasks = Tasks(usable(corpus), lambda video: task_of(video, [video], video.fps))
        first = list(itertools.islice(cut(tasks)[0], 256))
    assert first[0].of.row == 0


if __name__ == "__main__":
    if sys.argv[1] == "use":
        use(Path(sys.argv[2]))
    else:
        for rows in map(int, sys.argv[2:]):
            folder = Path(sys.argv[1]) / str(rows)
            if not folder.exists():
                make(folder, rows)
            for turn in ("first time", "again"):
                print(rows, turn, flush=True)
                subprocess.run([sys.executable, __file__, "use", str(folder)], check=True)
