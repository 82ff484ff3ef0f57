"""Features of whole sources as a table: a row a video (or segment), whatever its state."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float32
from torch import Tensor

from tubelet.data.listing import Entry, list_sources
from tubelet.data.loader import Data, eval_batches
from tubelet.data.table import Corpus
from tubelet.errors import VideoError
from tubelet.export import embed_clips, file_clip
from tubelet.models.encoder import Encoder


@dataclass(frozen=True)
class Row:
    """One video: its feature, or why there is none."""

    id: str
    start: float  # seconds; where a segment begins in its file
    feature: Float32[np.ndarray, "d"] | None
    status: str = "ok"
    reason: str = ""


def write_features(
    encoder: Encoder,
    sources: Sequence[str | Path],
    out: Path,
    data: Data,
    *,
    batch: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[Row]]:
    """Writes the table whole or not at all. Returns how many rows it has, and those without a feature."""
    plans = [plan(Path(source)) for source in sources]
    total = sum(len(found.videos if isinstance(found, Corpus) else found) for found in plans)
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("start", pa.float64()),
            ("feature", pa.list_(pa.float32(), encoder.width)),
            ("status", pa.string()),
            ("reason", pa.string()),
        ]
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    done, failed = 0, []
    try:
        with pq.ParquetWriter(part, schema) as writer:
            for found in plans:
                if isinstance(found, Corpus):
                    made = of_corpus(encoder, found, data, batch)
                else:
                    made = of_files(encoder, found, data, batch)
                for rows in made:
                    writer.write_table(pa.Table.from_pylist([vars(row) for row in rows], schema=schema))
                    done += len(rows)
                    failed += [row for row in rows if row.status != "ok"]
                    progress(done, total)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return done, failed


def plan(source: Path) -> "Corpus | list[Entry]":
    """A corpus, or the videos that are meant: a file, all below a folder, or those of a list."""
    if (source / "corpus.json").exists():
        return Corpus.open(source)
    return list_sources([source]).entries


def of_corpus(encoder: Encoder, corpus: Corpus, data: Data, batch: int) -> Iterator[list[Row]]:
    """In the order of the table."""
    known = {video.id: video for video in corpus.videos}
    videos = list(corpus.videos)
    for place, some in enumerate(eval_batches(corpus, videos, encoder.clip, data, batch=batch)):
        rows = {}
        if len(some):
            features = embed_clips(encoder, some.video).numpy()
            rows = {name: Row(name, known[name].start, row) for name, row in zip(some.ids, features, strict=True)}
        asked = videos[place * batch : (place + 1) * batch]
        reasons = {video.id: line for video in asked for line in some.failed if line.startswith(f"{video.id}: ")}
        for video in asked:
            if video.id not in rows:
                status = video.status if video.status != "ok" else "unreadable"
                rows[video.id] = Row(
                    video.id, video.start, None, status, reasons[video.id].removeprefix(f"{video.id}: ")
                )
        yield [rows[video.id] for video in asked]


def of_files(encoder: Encoder, entries: Sequence[Entry], data: Data, batch: int) -> Iterator[list[Row]]:
    for first in range(0, len(entries), batch):
        some = entries[first : first + batch]
        clips: list[Tensor] = []
        reasons: dict[int, str] = {}
        for place, entry in enumerate(some):
            try:
                clips.append(file_clip(entry.path, encoder.clip, data.sampling, entry.start, entry.end))
            except VideoError as error:
                reasons[place] = str(error).removeprefix(f"{entry.path}: ")
        features = iter(embed_clips(encoder, torch.stack(clips)).numpy() if clips else ())
        yield [
            Row(entry.id, entry.start or 0.0, None, "unreadable", reasons[place])
            if place in reasons
            else Row(entry.id, entry.start or 0.0, next(features))
            for place, entry in enumerate(some)
        ]
