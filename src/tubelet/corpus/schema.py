"""The rows and columns of the tables of a corpus, and how a table of theirs is read."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tubelet.checksums import Damaged, read_parquet, verify
from tubelet.errors import CorpusError
from tubelet.remote.address import is_remote


@dataclass(frozen=True)
class Video:
    """One row of the videos table."""

    row: int
    id: str
    path: Path
    start: float
    end: float
    duration: float
    fps: float
    frames: int
    width: int
    height: int
    codec: str
    label: str | None
    split: str
    group: str
    status: str
    reason: str
    # What came later has a default, which is all that its column needs: null in a table that lacks it.
    content: str | None = None  # digest of what the file holds, in hex (tubelet.corpus.content)
    size: int | None = None  # bytes of the file when that was read
    modified: int | None = None  # and its time of change, in nanoseconds
    reading: str | None = None  # what is done to its frames (tubelet.video.reading); null: they come as decoded
    pixel_aspect: str | None = None  # width:height of a pixel; null where it is square
    field_order: str | None = None  # of an interlaced file; null where it is not
    keep: bool | None = None  # false: `tubelet curate` left it out, and no command selects it


@dataclass(frozen=True)
class Caption:
    """One row of the captions table."""

    row: int
    video: str
    text: str
    source: str
    time: float | None
    model: str | None = None  # what wrote it; null where people did
    prompt: str | None = None  # what it was asked, or the template that it fills


@dataclass(frozen=True)
class Moment:
    """One row of the moments table: what happens in a video from when to when, in seconds of its file."""

    video: str
    start: float
    end: float
    label: str


def file_id(video: Video) -> str:
    """The id of the file that a row is of, without the start of a segment."""
    whole, mark, span = video.id.rpartition("#")
    return whole if mark and re.fullmatch(SPAN, span) else video.id


def later(row: type) -> list[tuple[str, pa.DataType]]:
    """The columns that tables of an earlier version lack: the fields with a default. They are null where nobody filled
    them and no part of a fingerprint: where a text comes from, or which bytes a file has, is not what a table says."""
    kinds = {str | None: pa.string(), int | None: pa.int64(), float | None: pa.float64(), bool | None: pa.bool_()}
    return [(field.name, kinds[field.type]) for field in fields(row) if field.default is None]  # type: ignore[index]


VIDEOS = pa.schema(
    [
        ("id", pa.string()),  # path relative to its source; `video#start` for a segment
        ("path", pa.string()),  # relative to the corpus folder where it lies inside, else absolute, or a URL
        ("start", pa.float64()),  # seconds
        ("end", pa.float64()),
        ("duration", pa.float64()),
        ("fps", pa.float64()),  # measured, the mean over the row
        ("frames", pa.int64()),
        ("width", pa.int32()),  # upright
        ("height", pa.int32()),
        ("codec", pa.string()),
        ("label", pa.string()),  # null where there is none
        ("split", pa.string()),
        ("group", pa.string()),
        ("status", pa.string()),  # "ok", or why the row cannot be used
        ("reason", pa.string()),
        *later(Video),
    ]
)
CAPTIONS = pa.schema(
    [
        ("video", pa.string()),  # id
        ("text", pa.string()),
        ("source", pa.string()),
        ("time", pa.float64()),  # seconds; null where the caption speaks of the whole video
        *later(Caption),
    ]
)
MOMENTS = pa.schema(
    [
        ("video", pa.string()),  # id
        ("start", pa.float64()),  # seconds
        ("end", pa.float64()),
        ("label", pa.string()),
    ]
)
LATER = dict([*later(Video), *later(Caption)])
FROM_LABEL = "label"  # the model of a caption that was made of the label
TABLES = {"videos.parquet": VIDEOS, "captions.parquet": CAPTIONS, "moments.parquet": MOMENTS}
SPAN = r"\d+(\.\d+)?(-\d+(\.\d+)?)?"  # behind the "#" of a segment: its start, and its end where another has that start
Row = dict[str, Any]  # of one of the tables
DEFAULTS: Row = {
    "start": 0.0,
    "end": 0.0,
    "duration": 0.0,
    "fps": 0.0,
    "frames": 0,
    "width": 0,
    "height": 0,
    "codec": "",
    "label": None,
    "status": "ok",
    "reason": "",
}


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    with damage_named(path):
        return fitted(read_parquet(path), schema)


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with these columns, also one of an earlier version."""
    for name, kind in LATER.items():
        if name in schema.names and name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), kind))
    return table.select(schema.names).cast(schema)


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """What is wrong with a table, in the user's words."""
    try:
        yield
    except (OSError, KeyError, Damaged, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise CorpusError(f"{path} is missing or damaged ({reason}); index the videos anew") from None


def count_rows(path: Path) -> int:
    verify(path)
    with pq.ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def located(folder: Path, path: str | Path) -> Path:
    """What a table means by a path: a URL stands as it is, another counts from the corpus folder."""
    return Path(path) if is_remote(path) else folder / path
