"""One row a video (or segment) of any sources, whatever its state: what the tables of features and of labels share."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float32
from torch import Tensor

from tubelet.data.listing import Entry, list_sources
from tubelet.data.loader import Data, eval_batches
from tubelet.data.table import Corpus, Video
from tubelet.data.views import CENTRE, View
from tubelet.errors import CorpusError, VideoError
from tubelet.export import file_clip
from tubelet.types import Clip

Measure = Callable[[Tensor], Tensor]
"""Clips, uint8 "b 3 t h w", to a vector each, "b d"; that of a video is the mean over its views."""


@dataclass(frozen=True)
class Row:
    """One video: its vector, or why there is none."""

    id: str
    start: float  # seconds; where a segment begins in its file
    value: Float32[np.ndarray, "d"] | None
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Sources:
    """What is to be measured: corpora, and the videos that files, folders and lists mean."""

    corpora_and_files: tuple[tuple[Corpus, tuple[Video, ...]] | tuple[None, tuple[Entry, ...]], ...]

    @classmethod
    def of(
        cls, sources: Sequence[str | Path], split: str | None = None, without: Collection[str] = frozenset()
    ) -> "Sources":
        """Of corpora only a split, where that is asked for, and none of the videos `without`."""
        parts: list[Any] = []
        for source in map(Path, sources):
            if (source / "corpus.json").exists():
                corpus = Corpus.open(source)
                chosen = [video for video in corpus.videos if split in (None, "all", video.split)]
                if not chosen:
                    there = ", ".join(sorted({video.split for video in corpus.videos}))
                    raise CorpusError(f"{source} has no video in split {split!r}; it has: {there}")
                parts.append((corpus, tuple(video for video in chosen if video.id not in without)))
            else:
                parts.append((None, tuple(list_sources([source]).entries)))
        return cls(tuple(parts))

    def __len__(self) -> int:
        return sum(len(items) for _, items in self.corpora_and_files)

    def rows(
        self, measure: Measure, clip: Clip, data: Data, *, views: Sequence[View] = (CENTRE,), batch: int = 16
    ) -> Iterator[list[Row]]:
        """In the order of the sources; each file in the order of its table or name."""
        for corpus, items in self.corpora_and_files:
            some: Any = items
            if corpus is None:
                yield from of_files(measure, some, clip, data, views, batch)
            else:
                yield from of_corpus(measure, corpus, some, clip, data, views, batch)


def of_corpus(
    measure: Measure,
    corpus: Corpus,
    videos: Sequence[Video],
    clip: Clip,
    data: Data,
    views: Sequence[View],
    batch: int,
) -> Iterator[list[Row]]:
    size = max(1, batch // len(views))
    usable = any(video.status == "ok" for video in videos)
    bare = [replace(video, label=None) for video in videos]  # whatever the labels are called, they are not read here
    batches = eval_batches(corpus, bare, clip, data, batch=batch, views=views) if usable else None
    for first in range(0, len(videos), size):
        asked = videos[first : first + size]
        reasons = {video.id: f"{video.id}: {video.reason or video.status}" for video in asked if video.status != "ok"}
        values: Mapping[str, np.ndarray] = {}
        if batches is not None:
            some = next(batches)
            reasons |= {video.id: line for video in asked for line in some.failed if line.startswith(f"{video.id}: ")}
            if len(some):
                values = means(some.ids, measure(some.video))
        yield [
            Row(video.id, video.start, values[video.id])
            if video.id in values
            else Row(
                video.id, video.start, None, video.status if video.status != "ok" else "unreadable",
                reasons[video.id].removeprefix(f"{video.id}: "),
            )
            for video in asked
        ]  # fmt: skip


def means(ids: Sequence[str], values: Tensor) -> dict[str, np.ndarray]:
    """The mean of the rows of each id."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(ids):
        found.setdefault(name, []).append(place)
    return {name: values[rows].double().mean(0).float().numpy() for name, rows in found.items()}


def of_files(
    measure: Measure, entries: Sequence[Entry], clip: Clip, data: Data, views: Sequence[View], batch: int
) -> Iterator[list[Row]]:
    size = max(1, batch // len(views))
    for first in range(0, len(entries), size):
        some = entries[first : first + size]
        clips: list[Tensor] = []
        ids: list[str] = []
        reasons: dict[int, str] = {}
        for place, entry in enumerate(some):
            try:
                looks = [file_clip(entry.path, clip, data.sampling, entry.start, entry.end, view) for view in views]
            except VideoError as error:
                reasons[place] = str(error).removeprefix(f"{entry.path}: ")
            else:
                clips += looks
                ids += [str(place)] * len(looks)
        values = means(ids, measure(torch.stack(clips))) if clips else {}
        yield [
            Row(entry.id, entry.start or 0.0, None, "unreadable", reasons[place])
            if place in reasons
            else Row(entry.id, entry.start or 0.0, values[str(place)])
            for place, entry in enumerate(some)
        ]


def write_rows(
    out: Path,
    schema: pa.Schema,
    made: Iterator[list[Row]],
    total: int,
    columns: Callable[[Row], Mapping[str, Any]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[Row]]:
    """Writes the table whole or not at all. Returns how many rows it has, and those without a vector."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    done, failed = 0, []
    try:
        with pq.ParquetWriter(part, schema) as writer:
            for rows in made:
                writer.write_table(pa.Table.from_pylist([dict(columns(row)) for row in rows], schema=schema))
                done += len(rows)
                failed += [row for row in rows if row.status != "ok"]
                progress(done, total)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return done, failed
