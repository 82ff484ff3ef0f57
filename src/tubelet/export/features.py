"""Features of whole sources as a table: a row a video (or segment), whatever its state."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from tubelet.data.loader import Data
from tubelet.export import embed_clips
from tubelet.export.rows import Row, Sources, write_rows
from tubelet.models.encoder import Encoder


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
    found = Sources.of(sources)
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("start", pa.float64()),
            ("feature", pa.list_(pa.float32(), encoder.width)),
            ("status", pa.string()),
            ("reason", pa.string()),
        ]
    )
    made = found.rows(lambda video: embed_clips(encoder, video), encoder.clip, data, batch=batch)
    return write_rows(
        out, schema, made, len(found),
        lambda row: {
            "id": row.id, "start": row.start, "feature": row.value, "status": row.status, "reason": row.reason
        },
        progress,
    )  # fmt: skip
