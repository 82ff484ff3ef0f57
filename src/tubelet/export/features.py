"""Features of whole sources as a table: a row a video (or segment), whatever its state. Start at `write_features`.

Videos go through the runner of every job: what was embedded before a call was stopped stands beside the table, under
its name with `.partial`, until the table is whole.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float32, UInt8

from tubelet.data.jobs import FAILED, Done, Failures, Progress, Running, Task, Work, file_key, quiet, run_job
from tubelet.data.loader import Data, around
from tubelet.data.sample import Sampling
from tubelet.data.shards import Writer, series_folder
from tubelet.data.table import Video
from tubelet.errors import RunError, VideoError
from tubelet.evaluations.cache import view_of
from tubelet.export import embed_clips, file_clip
from tubelet.export.rows import Row, Sources
from tubelet.models.encoder import Encoder
from tubelet.types import Clip

HELD = 256 << 20  # bytes of decoded clips that wait for their shard
MADE_BY = b"tubelet"  # in the table's metadata: the encoder, the clip, the sampling
READ = 4096  # rows of an existing table read at a time


@dataclass(frozen=True)
class Wanted:
    """A row to be, and where its clip is read."""

    row: Row
    path: Path
    start: float | None
    end: float | None

    @property
    def task(self) -> Task:
        return Task(file_key(self.path, self.row.id, self.start, self.end), self.row.id, (self,))


def write_features(
    encoder: Encoder,
    sources: Sequence[str | Path],
    out: Path,
    data: Data,
    *,
    batch: int = 16,
    only_missing: bool = False,
    running: Running | None = None,
    progress: Progress = quiet,
) -> tuple[int, list[Row], Done]:
    """Writes the table whole or not at all. Returns how many rows it has, those without a feature, and what was done.

    With `only_missing`, the rows of an existing table of the same encoder stay; those of failed videos are made again
    where `running` says so.
    """
    clip, running = encoder.clip, running or Running()
    about = view_of(encoder, clip, data)
    wanted = list(plan(Sources.of(sources), clip, data.sampling))
    old = existing(out, about) if only_missing else {}
    if running.retry_failed:
        old = {key: row for key, row in old.items() if row.status == "ok"}
    tasks = [one.task for one in wanted if one.row.status == "ok" and place_of(one.row) not in old]
    schema = pa.schema([("key", pa.binary(16)), ("feature", pa.list_(pa.float32(), encoder.width))])
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = out.with_name(f".{out.name}.partial")
    with Writer(series_folder(parts, about), about, schema) as writer:
        found = {key.hex(): np.asarray(row, np.float32) for key, row in writer.series.columns("key", "feature")}

        def keep(results: Sequence[tuple[Task, Sequence[UInt8[np.ndarray, "3 t h w"]]]]) -> None:
            for first in range(0, len(results), batch):
                some = results[first : first + batch]
                clips = torch.from_numpy(np.stack([decoded for _, (decoded,) in some]))
                for (task, _), feature in zip(some, embed_clips(encoder, clips).numpy(), strict=True):
                    found[task.key] = feature
                    writer.add({"key": bytes.fromhex(task.key), "feature": feature}, feature.nbytes)
            writer.flush()

        done = run_job(
            Work(partial(decode, clip=clip, sampling=data.sampling)),
            tasks,
            keep,
            there=lambda task: task.key in found,
            failures=Failures(writer.folder / FAILED),
            running=running,
            progress=progress,
            most=max(batch, HELD // (3 * clip.frames * clip.size**2)),
        )
    rows = [old.get(place_of(one.row)) or finished(one, found, done) for one in wanted]
    write_table(out, rows, encoder.width, about)
    shutil.rmtree(parts)
    return len(rows), [row for row in rows if row.status != "ok"], done


def plan(sources: Sources, clip: Clip, sampling: Sampling) -> Iterator[Wanted]:
    """The rows, in the order of the sources."""
    for _, items in sources.corpora_and_files:
        for item in items:
            if isinstance(item, Video):
                row = Row(item.id, item.start, None, item.status, item.reason)
                yield Wanted(row, item.path, *around(item, sampling.seconds(clip, item.fps), 0.5))
            else:
                yield Wanted(Row(item.id, item.start or 0.0, None), item.path, item.start, item.end)


def decode(one: Wanted, clip: Clip, sampling: Sampling) -> UInt8[np.ndarray, "3 t h w"]:
    """Runs in a worker: the clip in the middle."""
    try:
        return file_clip(one.path, clip, sampling, one.start, one.end).numpy()
    except VideoError as error:
        raise VideoError(str(error).removeprefix(f"{one.path}: ")) from None


def finished(one: Wanted, found: dict[str, Float32[np.ndarray, "d"]], done: Done) -> Row:
    if one.row.status != "ok":
        return one.row
    if (feature := found.get(one.task.key)) is not None:
        return replace(one.row, value=feature)
    failure = done.failed[one.task.key]
    return replace(one.row, status=failure.status, reason=failure.reason)


def place_of(row: Row) -> tuple[str, float]:
    return row.id, row.start


def existing(out: Path, about: dict[str, Any]) -> dict[tuple[str, float], Row]:
    """The rows of a table that this encoder made before."""
    if not out.exists():
        return {}
    try:
        with pq.ParquetFile(out) as table:
            made_by = json.loads((table.schema_arrow.metadata or {}).get(MADE_BY, b"null"))
            if made_by != json.loads(json.dumps(about)):
                raise RunError(
                    f"{out} was made by another encoder, or with other clips; name another file, or give --force"
                )
            rows = [row for batch in table.iter_batches(READ) for row in batch.to_pylist()]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RunError(f"{out} cannot be read as a table of features ({error}); replace it with --force") from None
    found = {}
    for row in rows:
        value = None if row["feature"] is None else np.asarray(row["feature"], np.float32)
        found[row["id"], row["start"]] = Row(row["id"], row["start"], value, row["status"], row["reason"])
    return found


def write_table(out: Path, rows: Sequence[Row], width: int, about: dict[str, Any]) -> None:
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("start", pa.float64()),
            ("feature", pa.list_(pa.float32(), width)),
            ("status", pa.string()),
            ("reason", pa.string()),
        ],
        metadata={MADE_BY: json.dumps(about).encode()},
    )
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with pq.ParquetWriter(part, schema) as writer:
            for first in range(0, len(rows), READ):
                some = [
                    {"id": row.id, "start": row.start, "feature": row.value, "status": row.status, "reason": row.reason}
                    for row in rows[first : first + READ]
                ]
                writer.write_table(pa.Table.from_pylist(some, schema=schema))
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
