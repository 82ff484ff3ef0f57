"""Features of whole sources as a table: a row a video (or segment, or window), whatever its state. Start reading at
`write_features`.

Videos go through the runner of every job: what was embedded before a call was stopped stands beside the table, under
its name with `.partial`, until the table is whole. Nothing of it is held in memory, so neither the length of a video
nor the size of a feature matters.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tubelet.checksums import Damaged, parquet_writer, verify
from tubelet.errors import RecipeError, RunError
from tubelet.evaluations.cache import view_of
from tubelet.inference.embed import load_encoder
from tubelet.inference.kinds import FeatureKind
from tubelet.inference.reading import Piece, clips_of, measure_shard, piece_of
from tubelet.inference.rows import Source, Sources, VideoRow, paths_of
from tubelet.inference.windows import Length, Measuring, Windows, length_of, pieces_of, too_short
from tubelet.jobs.failures import FAILED, Failures
from tubelet.jobs.pool import Failure
from tubelet.jobs.runner import Done, Running, Work, in_parts, run_job
from tubelet.jobs.shards import Series, Writer, series_folder
from tubelet.jobs.tasks import Task
from tubelet.loading.data import Data
from tubelet.models.encoder import Encoder
from tubelet.progress import Progress, silent
from tubelet.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

HELD = 256 << 20  # bytes of decoded clips, or of features, that wait for their shard
MADE_BY = b"tubelet"  # in the table's metadata: the encoder, the clip, the sampling, what of it is kept
READ = 4096  # rows of a table at a time
CHUNK = 64 << 20  # bytes of features at a time


def write_features(
    encoder: Encoder,
    sources: Sequence[str | Path],
    out: Path,
    data: Data,
    *,
    batch: int = 16,
    only_missing: bool = False,
    kind: FeatureKind | None = None,
    windows: Windows | None = None,
    running: Running | None = None,
    progress: Progress = silent,
) -> tuple[int, list[VideoRow], Done]:
    """Writes the table whole or not at all. Returns how many rows it has, those without a feature, and what was done.

    With `only_missing`, the rows of an existing table of the same encoder stay, where their file is as it was; those
    of failed videos are made again with `running.retry_failed`.
    """
    clip, running, kind = encoder.clip, running or Running(), kind or FeatureKind()
    columns = columns_of(encoder, kind)
    about = view_of(encoder, clip, data) | asked_for(kind, windows)
    videos = Sources.of(sources).videos()
    clip_bytes = 3 * clip.frames * clip.size**2
    if windows is None:
        pieces = [piece_of(row, video, clip, data.sampling) for row, video in videos]
    else:
        pieces = list(in_windows([row for row, _ in videos], windows, clip_bytes, running))
    before = existing(out, about) if only_missing else []
    old = {row.index: row for row in before}
    parts = out.with_name(f".{out.name}.partial")
    schema = pa.schema([("key", pa.binary(16)), *((name, field.type) for name, field in columns.items())])
    most = HELD // max(clip_bytes, bytes_of(schema)) // max(len(piece.rows) for piece in pieces)
    with Writer(series_folder(parts, about), about, schema, part=running.part) as writer:
        if before and running.part is None:
            keep_old(out, before, [row for piece in pieces for row in piece.rows], writer)
        stay = {row.key for row in old.values() if not (running.retry_failed and row.status != "ok")}
        todo = [piece for piece in pieces if piece.looks and not all(row.key in stay for row in piece.rows)]

        def keep(results: Sequence[tuple[Task, Mapping[str, torch.Tensor]]]) -> None:
            for task, values in results:
                for index, row in enumerate(task.about):
                    made = {name: values[name][index].numpy().astype(types[name]).reshape(-1) for name in columns}
                    writer.add({"key": bytes.fromhex(row.key), **made}, sum(part.nbytes for part in made.values()))
            writer.flush()

        types = {name: np.dtype(field.type.value_type.to_pandas_dtype()) for name, field in columns.items()}
        done = run_job(
            Work(
                partial(clips_of, clip=clip, sampling=data.sampling),
                together=partial(measure_shard, batch=batch, measure=partial(kind.of, encoder)),
            ),
            list({task.key: task for task in (piece.task for piece in todo)}.values()),
            keep,
            there=lambda task: all(bytes.fromhex(row.key) in writer for row in task.about),
            failures=Failures.of(writer.folder / FAILED, running.part),
            running=running,
            progress=progress,
            most=max(batch if windows is None and kind.plain else 1, most),
        )
        series = Series(writer.folder)
        rows = [row for piece in pieces for row in finished(piece, series, old, done)]
        write_table(out, rows, series, columns, about, parts)
    failed = [row for row in rows if row.status != "ok"]
    return len(rows), failed, done


@dataclass(frozen=True)
class FeatureTable:
    """A table of features that was written."""

    path: Path
    rows: int
    failed: list[VideoRow]  # those without a feature, each with its reason
    shape: tuple[int, ...]  # of a feature
    done: Done

    def to_pandas(self) -> "pd.DataFrame":
        import pandas as pd

        frame: pd.DataFrame = pd.read_parquet(self.path)
        return frame


def embed_sources(
    run: str | Path | Run,
    sources: Source | Sequence[Source],
    out: str | Path,
    *,
    kind: FeatureKind | None = None,
    windows: float | int | None = None,
    overlap: float | int | str = 0.0,
    batch: int = 16,
    only_missing: bool = False,
    force: bool = False,
    running: Running | None = None,
    progress: Progress = silent,
    tell: Callable[[str], object] = lambda line: None,
) -> FeatureTable:
    """Writes the features of videos, folders, lists or corpora, by the encoder of a run, to a Parquet table, a row a
    video, or a window of `windows` seconds. A table that is there is replaced with `force`, completed with
    `only_missing`. `tell` is called with what to know before the work."""
    out, kind = Path(out), kind or FeatureKind()
    cut = None if windows is None else Windows.of(windows, overlap)
    if cut is None and str(overlap) not in ("0", "0.0"):
        raise RecipeError("--overlap is of windows; say how long they are with --windows SECONDS")
    if force and only_missing:
        raise RecipeError("--force replaces the table and --only-missing keeps its rows; give one of them")
    if out.exists() and not (force or only_missing):
        raise RunError(
            f"{out} exists; name another file with --out, complete it with --only-missing, or replace it with --force"
        )
    encoder = load_encoder(run).to("cuda" if torch.cuda.is_available() else "cpu")
    data = Data(sampling=encoder.sampling)
    if cut is not None and (line := too_short(cut, data.sampling, encoder.clip)):
        tell(line)
    write = partial(write_features, encoder, paths_of(sources), out, data)
    rows, failed, done = in_parts(
        lambda mine: write(
            batch=batch, only_missing=only_missing, kind=kind, windows=cut, running=mine, progress=progress
        ),
        running,
    )
    return FeatureTable(out, rows, failed, tuple(kind.shape(encoder)), done)


def asked_for(kind: FeatureKind, windows: Windows | None) -> dict[str, Any]:
    """What the table is of, where that is not one mean a video."""
    if kind.plain and windows is None:
        return {}
    return {
        "features": kind.features,
        "layer": kind.layer,
        "attention": kind.attention,
        "half": kind.half,
        "windows": None if windows is None else [windows.seconds, windows.overlap],
    }


def columns_of(encoder: Encoder, kind: FeatureKind) -> dict[str, pa.Field]:
    """The columns of numbers: lists of a fixed size, whose metadata say the shape that they have."""
    grid = list(encoder.clip.grid)
    shapes = {"feature": (kind.shape(encoder), kind.names())}
    if kind.attention:
        shapes["attention"] = (tuple(grid), ("time_step", "row", "column"))
    number = pa.float16() if kind.half else pa.float32()
    return {
        name: pa.field(
            name,
            pa.list_(number, int(np.prod(shape))),
            metadata={"shape": json.dumps(shape), "axes": json.dumps(axes), "grid": json.dumps(grid)},
        )
        for name, (shape, axes) in shapes.items()
    }


def bytes_of(schema: pa.Schema) -> int:
    """Of the numbers of a row."""
    lists = [field.type for field in schema if pa.types.is_fixed_size_list(field.type)]
    return sum(kind.list_size * kind.value_type.bit_width // 8 for kind in lists)


def in_windows(rows: Sequence[VideoRow], windows: Windows, clip_bytes: int, running: Running) -> Iterator[Piece]:
    """The windows of every row, in order; a row of unknown length is one row, with the reason."""
    found: dict[str, Length] = {}
    tasks = {row.key: Task(row.key, row.id, (Measuring(row),)) for row in rows if row.status == "ok"}

    def keep(results: Sequence[tuple[Task, Sequence[Length]]]) -> None:
        found.update((task.key, length) for task, (length,) in results)

    done = run_job(Work(length_of), list(tasks.values()), keep, running=replace(running, part=None, merge=False))
    for row in rows:
        if (length := found.get(row.key)) is not None:
            yield from pieces_of(row, length, windows, clip_bytes)
        else:
            yield Piece((without(row, done.failed.get(row.key)),), ())


def finished(piece: Piece, series: Series, old: Mapping[tuple[Any, ...], VideoRow], done: Done) -> Iterator[VideoRow]:
    """The rows of a piece, as what became of it says."""
    for row in piece.rows:
        if row.status != "ok" or bytes.fromhex(row.key) in series:
            yield row
        elif (before := old.get(row.index)) is not None and piece.task.key not in done.failed:
            yield replace(row, status=before.status, reason=before.reason)
        else:
            yield without(row, done.failed[piece.task.key])


def without(row: VideoRow, failure: Failure | None) -> VideoRow:
    return row if failure is None else replace(row, status=failure.status, reason=failure.reason)


def existing(out: Path, about: Mapping[str, Any]) -> list[VideoRow]:
    """The rows of a table that this encoder made before."""
    if not out.exists():
        return []
    try:
        verify(out)
        with pq.ParquetFile(out) as table:
            made_by = json.loads((table.schema_arrow.metadata or {}).get(MADE_BY, b"null"))
            if made_by != json.loads(json.dumps(about)):
                raise RunError(
                    f"{out} was made by another encoder, or with other clips; name another file, or give --force"
                )
            names = [field.name for field in table.schema_arrow if not pa.types.is_fixed_size_list(field.type)]
            return [VideoRow(**row) for batch in table.iter_batches(READ, columns=names) for row in batch.to_pylist()]
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        why = str(error) if isinstance(error, Damaged) else f"{type(error).__name__}: {error}"
        raise RunError(f"{out} cannot be read as a table of features ({why}); replace it with --force") from None


def keep_old(out: Path, old: Sequence[VideoRow], rows: Sequence[VideoRow], writer: Writer) -> None:
    """Adds the numbers of the rows that stay to those that are made now."""
    wanted = {row.index for row in rows}
    before = iter(old)
    with pq.ParquetFile(out) as table:
        lists = [field.name for field in writer.schema if field.name != "key"]
        a_time = max(1, min(READ, CHUNK // bytes_of(writer.schema)))
        for batch in table.iter_batches(a_time, columns=lists):
            for number in range(len(batch)):
                row = next(before)
                if row.status == "ok" and row.index in wanted:
                    values = {name: batch.column(name)[number].values.to_numpy() for name in lists}
                    writer.add({"key": bytes.fromhex(row.key), **values}, sum(v.nbytes for v in values.values()))
    writer.flush()


def write_table(
    out: Path,
    rows: Sequence[VideoRow],
    series: Series,
    columns: Mapping[str, pa.Field],
    about: Mapping[str, Any],
    parts: Path,
) -> None:
    """Whole or not at all, in place of its parts: they are gone before it is there, so that no kill leaves both."""
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("path", pa.string()),
            ("start", pa.float64()),
            ("end", pa.float64()),
            *columns.values(),
            ("status", pa.string()),
            ("reason", pa.string()),
            ("size", pa.int64()),
            ("modified", pa.int64()),
            *([("reading", pa.string())] if any(row.reading for row in rows) else []),
        ],
        metadata={MADE_BY: json.dumps(about).encode()},
    )
    a_time = max(1, min(READ, CHUNK // bytes_of(schema)))
    with parquet_writer(out, schema) as writer:
        for first in range(0, len(rows), a_time):
            some = rows[first : first + a_time]
            found = [series.rows.get(bytes.fromhex(row.key)) if row.status == "ok" else None for row in some]
            arrays = [
                arrays_of(columns[field.name], found, series)
                if field.name in columns
                else pa.array([getattr(row, field.name) for row in some], field.type)
                for field in schema
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        shutil.rmtree(parts)


def arrays_of(field: pa.Field, indices: Sequence[tuple[int, int] | None], series: Series) -> pa.Array:
    """The numbers of these rows of the series; null where there is none."""
    size = field.type.list_size
    flat = np.zeros((len(indices), size), field.type.value_type.to_pandas_dtype())
    for row, index in enumerate(indices):
        if index is not None:
            column = series.batches[index[0]].column(field.name)
            flat[row] = column.values[(column.offset + index[1]) * size :][:size].to_numpy()
    missing = pa.array([index is None for index in indices])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=field.type, mask=missing)
