"""Labels of whole sources as a table: a row a video (or segment), whatever its state."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tubelet.data.views import View
from tubelet.export.rows import Row, Sources, write_rows
from tubelet.recipes.classifiers import Kept


def write_predictions(
    classifier: Kept,
    sources: Sequence[str | Path],
    out: Path,
    *,
    views: Sequence[View] | None = None,
    split: str | None = None,
    rest: bool = False,
    every_class: bool = False,
    batch: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[Row]]:
    """Writes the table whole or not at all. Returns how many rows it has, and those without a label.

    `rest` leaves out the videos of corpora that the classifier was fitted or selected on; `every_class` adds a column
    with the probability of each class, in the order that the table's metadata names them.
    """
    found = Sources.of(sources, split, classifier.seen if rest else frozenset())
    fields = [
        ("id", pa.string()),
        ("start", pa.float64()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
    if every_class:
        fields.append(("probabilities", pa.list_(pa.float32(), len(classifier.classes))))
    schema = pa.schema(fields, metadata={"classes": "\n".join(classifier.classes)})

    def columns(row: Row) -> Mapping[str, Any]:
        values = {"id": row.id, "start": row.start, "status": row.status, "reason": row.reason}
        if row.value is not None:
            first = int(row.value.argmax())
            values |= {"label": classifier.classes[first], "probability": float(row.value[first])}
            values |= {"probabilities": row.value} if every_class else {}
        return values

    made = found.rows(
        classifier.probabilities, classifier.clip, classifier.data, views=views or classifier.views, batch=batch
    )
    return write_rows(out, schema, made, len(found), columns, progress)
