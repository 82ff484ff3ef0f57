"""The rows of a large table, read where they lie when they are asked for, so that no process holds all of them.

Beside the Parquet table stands its copy in Arrow batches of some hundred rows, which is memory-mapped: a row is found
by its number without reading others. It is made when a large table is first opened, says of which table it is, and may
be deleted. Columns are scanned in the Parquet file. Start reading at `RowsOnDisk`.
"""

import contextlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int

from tubelet.checksums import FIELD, Damaged, verify
from tubelet.errors import CorpusError
from tubelet.files import writing

LARGE = 100_000  # rows of a table beyond which it is not held in memory
BATCH = 1024  # rows of the copy that are verified together
SCAN = 1 << 16  # rows of a column at a time
OF, CRC = b"table", b"crc32"

R = TypeVar("R")
Fit = Callable[[pa.Table], pa.Table]  # a table of an earlier version as one of now


class RowsOnDisk(Sequence[R], Generic[R]):
    """The rows of these numbers, or all, each made by `make(number, values)` when it is asked for."""

    def __init__(
        self, copy: "Copy", make: Callable[[int, dict[str, Any]], R], numbers: Int[np.ndarray, "rows"] | None = None
    ) -> None:
        self.copy, self.make = copy, make
        self.numbers = np.arange(len(copy), dtype=np.int64) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> R: ...

    @overload
    def __getitem__(self, index: slice) -> "RowsOnDisk[R]": ...

    def __getitem__(self, index: int | slice) -> "R | RowsOnDisk[R]":
        if isinstance(index, slice):
            return self.take(self.numbers[index])
        number = int(self.numbers[index])
        return self.make(number, self.copy.row(number))

    def take(self, numbers: Int[np.ndarray, "some"]) -> "RowsOnDisk[R]":
        """The rows of the table with these numbers."""
        return RowsOnDisk(self.copy, self.make, numbers)


class Copy:
    """A table in batches of equal size. Pickling sends its name alone."""

    def __init__(self, table: Path, fit: Fit) -> None:
        self.table, self.fit = table, fit
        self.batches = open_copy(table, fit)
        self.batch = lru_cache(maxsize=8)(self.batches.read)

    def __len__(self) -> int:
        return self.batches.rows

    def row(self, number: int) -> dict[str, Any]:
        which, at = divmod(number, BATCH)
        batch = self.batch(which)
        return {name: column[at].as_py() for name, column in zip(batch.schema.names, batch.columns, strict=True)}

    def __reduce__(self) -> tuple[Any, ...]:
        return Copy, (self.table, self.fit)


class Batches:
    """The batches of a file, each verified when it is first read."""

    def __init__(self, path: Path, of: bytes) -> None:
        self.path = path
        self.file = pa.ipc.open_file(pa.memory_map(str(path)))
        metadata = self.file.schema.metadata or {}
        if metadata.get(OF) != of:
            raise Damaged("it is the copy of another table")
        self.rows = int(metadata[b"rows"])
        self.verified = bytearray(self.file.num_record_batches)

    def read(self, which: int) -> pa.RecordBatch:
        found = self.file.get_batch_with_custom_metadata(which)
        if not self.verified[which]:
            if found.custom_metadata is None or crc32(found.batch) != found.custom_metadata[CRC]:
                raise CorpusError(f"{self.path} is damaged in rows {which * BATCH} and following; delete it")
            self.verified[which] = 1
        return found.batch


class InMemory:
    """The same of a table in a folder that cannot be written."""

    def __init__(self, table: pa.Table) -> None:
        self.rows, self.found = len(table), table.combine_chunks().to_batches(BATCH)

    def read(self, which: int) -> pa.RecordBatch:
        return self.found[which]


def open_copy(table: Path, fit: Fit) -> Batches | InMemory:
    verify(table)
    path, of = table.with_suffix(".arrow"), identity(table)
    with contextlib.suppress(OSError, Damaged, pa.ArrowException, KeyError, ValueError):
        return Batches(path, of)
    try:
        write_copy(path, table, fit, of)
    except OSError:
        return InMemory(fit(pq.read_table(table)))
    return Batches(path, of)


def write_copy(path: Path, table: Path, fit: Fit, of: bytes) -> None:
    with pq.ParquetFile(table, memory_map=True) as file, writing(path) as part:
        schema = fit(file.schema_arrow.empty_table()).schema
        about = schema.with_metadata({OF: of, b"rows": str(file.metadata.num_rows).encode()})
        with pa.ipc.new_file(part, about) as writer:
            for batch in equal_batches(file, fit):
                writer.write_batch(batch.cast(about), custom_metadata={CRC: crc32(batch)})


def equal_batches(file: pq.ParquetFile, fit: Fit) -> Iterator[pa.RecordBatch]:
    """All rows, `BATCH` at a time; the last may be fewer."""
    rest: list[pa.RecordBatch] = []
    for batch in file.iter_batches(SCAN, use_threads=False):
        table = pa.Table.from_batches([*rest, batch]).combine_chunks()
        whole = len(table) // BATCH * BATCH
        yield from fit(table.slice(0, whole)).combine_chunks().to_batches(BATCH)
        rest = table.slice(whole).to_batches()
    if rest:
        yield from fit(pa.Table.from_batches(rest)).combine_chunks().to_batches(BATCH)


def crc32(batch: pa.RecordBatch) -> bytes:
    """Of what the rows hold, however they lie in memory."""
    alone = batch.replace_schema_metadata(None)
    plain = pa.ipc.read_record_batch(alone.serialize(), alone.schema)
    return f"{zlib.crc32(plain.serialize()):08x}".encode()


def identity(table: Path) -> bytes:
    """Of a table's content where it carries our checksum, else of the file as it is."""
    with pq.ParquetFile(table, memory_map=True) as file:
        said = (file.schema_arrow.metadata or {}).get(FIELD.encode())
    state = table.stat()
    return b"%d %s" % (state.st_size, said or b"%d" % state.st_mtime_ns)


def scan(table: Path, columns: Sequence[str], fit: Fit | None = None) -> Iterator[pa.Table]:
    """These columns, some rows at a time."""
    with pq.ParquetFile(table, memory_map=True) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(SCAN, columns=there, use_threads=False):
            found = pa.Table.from_batches([batch])
            yield found if fit is None else fit(found)


def numbers_where(table: Path, values: Mapping[str, str], unless_false: str) -> Int[np.ndarray, "rows"]:
    """The numbers of the rows of which these columns hold these values, and this one, where there is one, no false."""
    found, first = [], 0
    for some in scan(table, [*values, unless_false]):
        fits = np.ones(len(some), bool)
        if unless_false in some.column_names:
            fits &= pc.fill_null(some[unless_false], True).to_numpy(zero_copy_only=False)
        for name, value in values.items():
            fits &= pc.fill_null(pc.equal(some[name], value), False).to_numpy(zero_copy_only=False)
        found.append((np.flatnonzero(fits) + first).astype(np.int64))
        first += len(some)
    return np.concatenate(found) if found else np.zeros(0, np.int64)
