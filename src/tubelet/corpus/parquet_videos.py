"""Videos inside Parquet files, as Hugging Face data sets keep them: a column of structs of `bytes` and `path`.

Where the bytes are neither compressed nor cut, as `datasets` and `tubelet pack --to parquet` write them, an entry says
where in the file they are (`tubelet.video.members`) and nothing is unpacked. A row without bytes names a file.
Start reading at `rows_of`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tubelet.corpus.rows import SPLITS
from tubelet.corpus.tables import COLUMNS
from tubelet.errors import CorpusError
from tubelet.remote.address import as_text
from tubelet.video.members import open_bytes

NEEDLE = 64  # bytes by which a value is looked for in its column


@dataclass(frozen=True)
class ParquetRow:
    """One row: its video by place or by name, and what is said of it."""

    number: int
    name: str  # "" where the row has none
    offset: int | None  # None: the bytes lie elsewhere, under its name
    size: int
    label: str | None = None
    captions: list[str] = field(default_factory=list)


def rows_of(path: Path, one_of_many: bool = False) -> Iterator[ParquetRow]:
    """The rows of a Parquet file that have a video; one of many files may be a table of something else."""
    try:
        with open_bytes(path) as file:
            opened = pq.ParquetFile(file)
            features = features_of(opened.schema_arrow)
            video = video_column(opened.schema_arrow, features)
            if video is None:
                if one_of_many:
                    return
                raise CorpusError(
                    f"{as_text(path)} has no column of videos (structs of bytes and path); give one that has"
                )
            said = Said.of(opened.schema_arrow, features)
            number = 0
            for group in range(opened.num_row_groups):
                for offset, size, name, row in group_rows(path, file, opened, group, video, said.columns):
                    if offset is not None or name:
                        yield ParquetRow(number, name, offset, size, said.label(row), said.captions(row))
                    number += 1
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise CorpusError(f"{as_text(path)} cannot be read as Parquet ({reason}); fetch it anew") from None


def group_rows(
    path: Path, file: Any, opened: pq.ParquetFile, group: int, video: str, columns: list[str]
) -> Iterator[tuple[int | None, int, str, dict[str, Any]]]:
    """(offset, size, name, what else is asked for) of each row of a row group."""
    table = opened.read_row_group(group, columns=[video, *columns])
    about = opened.metadata.row_group(group)
    chunk = next(c for c in map(about.column, range(about.num_columns)) if c.path_in_schema == f"{video}.bytes")
    begin = chunk.data_page_offset
    if chunk.dictionary_page_offset is not None:
        begin = min(begin, chunk.dictionary_page_offset)
    file.seek(begin)
    raw = file.read(chunk.total_compressed_size)
    at = 0
    for row in table.to_pylist():
        value = row[video] or {}
        content, name = value.get("bytes"), str(value.get("path") or "")
        if content is None:
            yield None, 0, name, row
            continue
        found = place_of(raw, content, at)
        if found is None:
            how = f"compressed ({chunk.compression})" if chunk.compression != "UNCOMPRESSED" else "cut into pieces"
            raise CorpusError(
                f"{as_text(path)} holds its videos {how}, so that none can be read by its place; write it anew with "
                "`datasets` 4 or later (to_parquet), or unpack the videos into files"
            )
        at = found + len(content)
        yield begin + found, len(content), name, row


def place_of(raw: bytes, content: bytes, begin: int) -> int | None:
    """Where a value lies in the bytes of its column, mostly behind the one before it."""
    for first in (begin, 0):
        at = raw.find(content[:NEEDLE], first)
        while at >= 0:
            if raw[at : at + len(content)] == content:
                return at
            at = raw.find(content[:NEEDLE], at + 1)
    return None


def features_of(schema: pa.Schema) -> Mapping[str, Any]:
    """What `datasets` says of the columns, in the metadata of the file."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def video_column(schema: pa.Schema, features: Mapping[str, Any]) -> str | None:
    """The one that is declared, else the first of the right form, one called `video` before others."""
    fits = [
        column.name
        for column in schema
        if pa.types.is_struct(column.type) and {"bytes", "path"} <= {inner.name for inner in column.type}
    ]
    declared = [name for name in fits if kind_of(features, name) == "Video"]
    others = [name for name in fits if kind_of(features, name) in ("", "Video")]
    return next(iter(declared or sorted(others, key=lambda name: name != "video")), None)


def kind_of(features: Mapping[str, Any], name: str) -> str:
    feature = features.get(name)
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


@dataclass(frozen=True)
class Said:
    """Which columns hold the label and the captions."""

    label_column: str | None
    names: list[str]  # of classes, where labels are numbers
    caption_columns: list[str]

    @classmethod
    def of(cls, schema: pa.Schema, features: Mapping[str, Any]) -> "Said":
        classes = [column.name for column in schema if kind_of(features, column.name) == "ClassLabel"]
        label = next((name for name in (*classes, *COLUMNS["label"]) if name in schema.names), None)
        names = features[label].get("names") if label is not None and label in classes else None
        captions = [name for name in (*COLUMNS["caption"], "captions") if name in schema.names and name != label]
        return cls(label, [str(name) for name in names] if isinstance(names, list) else [], captions)

    @property
    def columns(self) -> list[str]:
        return [*([self.label_column] if self.label_column else []), *self.caption_columns]

    def label(self, row: Mapping[str, Any]) -> str | None:
        value = row.get(self.label_column or "")
        if isinstance(value, int) and self.names:
            return self.names[value] if 0 <= value < len(self.names) else None
        return None if value is None or value == "" else str(value)

    def captions(self, row: Mapping[str, Any]) -> list[str]:
        values = [row[name] for name in self.caption_columns]
        texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
        return [text.strip() for text in texts if isinstance(text, str) and text.strip()]


def split_in_name(path: Path) -> str | None:
    """`train` of `train-00000-of-00002.parquet`, as the hub names files."""
    first = re.split(r"[-.]", path.name)[0].lower()
    return first if first in SPLITS and re.search(r"-\d+-of-\d+", path.name) else None


def plain_name(row: ParquetRow) -> str:
    """The name of a row's video in an id: its own where that is one of a file, else its number."""
    name = PurePosixPath(row.name.replace("\\", "/"))
    return name.name if row.name and name.suffix else f"{row.number:06d}"
