"""Labels of whole sources as a table: a row a video (or segment), whatever its state."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from tubelet.checksums import write_parquet
from tubelet.evaluations.familiarity import caution
from tubelet.evaluations.trained_on import roles, video_of
from tubelet.inference.reading import clips_of, measured, piece_of
from tubelet.inference.rows import Row, Sources
from tubelet.jobs.runner import Done, Running, Task, Work, run_job
from tubelet.progress import Progress, silent
from tubelet.runs.classifier import SavedClassifier
from tubelet.video.views import View

Judged = dict[str, dict[str, Any]]
"""Of a row by its key: `probabilities` "classes" and, of some classifiers, the `distance` from what they know."""

HELD = 256 << 20  # bytes of decoded clips that wait for the classifier


def write_predictions(
    classifier: SavedClassifier,
    sources: Sequence[str | Path],
    out: Path,
    *,
    views: Sequence[View] | None = None,
    split: str | None = None,
    rest: bool = False,
    every_class: bool = False,
    batch: int = 16,
    running: Running | None = None,
    progress: Progress = silent,
) -> tuple[list[Row], int, Done]:
    """Writes the table whole or not at all. Returns its rows, how many stand under a caution, and what was done.

    `rest` leaves out the videos of corpora that the classifier was fitted or selected on; `every_class` adds a column
    with the probability of each class, in the order that the table's metadata names them.
    """
    clip, sampling, views = classifier.clip, classifier.data.sampling, views or classifier.views
    videos = Sources.of(sources, split, *([classifier.learned_from] if rest else [])).videos()
    pieces = [piece_of(row, video, clip, sampling, views) for row, video in videos]
    found: Judged = {}

    def keep(results: Sequence[tuple[Task, Sequence[UInt8[np.ndarray, "c 3 t h w"]]]]) -> None:
        for task, values in measured(results, batch, classifier.judged):
            found[task.key] = {name: value.mean(0).float().numpy() for name, value in values.items()}

    tasks = {piece.task.key: piece.task for piece in pieces if piece.rows[0].status == "ok"}
    done = run_job(
        Work(partial(clips_of, clip=clip, sampling=sampling)),
        list(tasks.values()),
        keep,
        running=running,
        progress=progress,
        most=max(1, HELD // (3 * clip.frames * clip.size**2 * len(views))),
    )
    rows = [
        replace(row, status=failure.status, reason=failure.reason) if (failure := done.failed.get(row.key)) else row
        for row, _ in videos
    ]
    named = [
        video_of(row.id, row.path, row.start, row.end) if video is None else replace(video, id=row.id)
        for row, video in videos
    ]
    trained_on = {name: roles(clips) for name, clips in classifier.trained_on.find(named).items()}
    table = table_of(rows, found, trained_on, classifier, every_class)
    write_parquet(out, table)
    return rows, sum(bool(text) for text in table["caution"].to_pylist()), done


def table_of(
    rows: Sequence[Row], found: Judged, trained_on: dict[str, str], classifier: SavedClassifier, every_class: bool
) -> pa.Table:
    fields = [
        ("id", pa.string()),
        ("path", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("caution", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("trained_on", pa.string()),  # by whom: classifier, encoder, aligner; null where by none
    ]
    if every_class:
        fields.append(("probabilities", pa.list_(pa.float32(), len(classifier.classes))))
    schema = pa.schema(fields, metadata={"classes": "\n".join(classifier.classes)})
    made = []
    for row in rows:
        values: dict[str, Any] = {**vars(row), "trained_on": trained_on.get(row.id)}
        if row.status == "ok" and row.key in found:
            probabilities = found[row.key]["probabilities"]
            first = int(probabilities.argmax())
            values |= {"caution": caution(float(found[row.key].get("distance", 0.0)))}
            values |= {"label": classifier.classes[first], "probability": float(probabilities[first])}
            values |= {"probabilities": probabilities} if every_class else {}
        made.append({name: values.get(name) for name in schema.names})
    return pa.Table.from_pylist(made, schema=schema)
