"""Rows found by a 16-byte key, in Arrow IPC files that are memory-mapped: any language can read them, no copy is made.

A series is a folder: `about.json` says what made the rows, `shard-*.arrow` hold them. A shard appears whole, so a
killed writer leaves whole shards or none, and the next one resumes from there. Several series (two models, say) stand
side by side; the file `current` names the one that is read.

A shard's metadata carry a checksum of what is read when it is opened, and its last column, `check`, one of the lists
of numbers of each row: they are read where they lie, later or never, so each is verified when it is first read.
"""

import contextlib
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa

from tubelet.checksums import FIELD, Damaged, read_json, write_json
from tubelet.errors import CorpusError
from tubelet.files import PATIENCE, file_name, lock, remove_leftovers, within, write_atomically, writing
from tubelet.jobs.parts import Part, lock_of
from tubelet.jobs.sharing import shared

FORMAT = 1
SHARD_BYTES = 64 << 20
CHECK = pa.field("check", pa.uint32())
BARE = re.compile("[0-9a-f]{16}")  # a digest, as an earlier version wrote it
REMEDY = "delete it and run the command that made it again"


class SeriesAbout(TypedDict):
    """What `about.json` says at least."""

    format: int


class Series:
    """The rows of one folder, read where they lie. Pickling sends the folder's name alone."""

    def __init__(self, folder: Path, repair: bool = False) -> None:
        """With `repair`, shards that are damaged are deleted, for who can make their rows again."""
        self.folder = folder
        self.about: dict[str, Any] = dict(read_json(folder / "about.json", SeriesAbout, CorpusError, REMEDY))
        if self.about["format"] != FORMAT:
            raise CorpusError(
                f"{folder} has format {self.about['format']}, this version reads {FORMAT}: "
                "delete the folder and run the command that made it again"
            )
        self.paths, self.batches = [], []
        for path in sorted(folder.glob("shard-*.arrow")):
            try:
                batch = read_shard(path)
            except Damaged as error:
                if not repair:
                    raise CorpusError(f"{path} is damaged ({error}): {REMEDY}") from error
                path.unlink(missing_ok=True)
            else:
                self.paths.append(path)
                self.batches.append(batch)
        self.rows: dict[bytes, tuple[int, int]] = {
            key: (shard, row)
            for shard, batch in enumerate(self.batches)
            for row, key in enumerate(batch.column("key").to_pylist())
        }
        self.numbers = [Numbers(batch) for batch in self.batches]

    def verify(self, shard: int, row: int) -> None:
        """`CorpusError` where the numbers of a row are not those that were written; each row is checked once."""
        if not self.numbers[shard].fit(row):
            name = self.batches[shard].column("video" if "video" in self.batches[shard].schema.names else "key")[row]
            raise CorpusError(f"{self.paths[shard]} is damaged in the row of {name}: {REMEDY}")

    def drop(self, shard: int) -> None:
        """Deletes a damaged shard; its rows are to be made again."""
        self.paths[shard].unlink(missing_ok=True)
        self.rows = {key: index for key, index in self.rows.items() if index[0] != shard}

    def __reduce__(self) -> tuple[type["Series"], tuple[Path]]:
        return Series, (self.folder,)

    def __contains__(self, key: bytes) -> bool:
        return key in self.rows

    def __len__(self) -> int:
        return len(self.rows)

    def columns(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """The rows as tuples of Python values."""
        for batch in self.batches:
            yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)

    def digests(self) -> dict[tuple[str, int, int], bytes]:
        """Of the files that were read: they hold while (video, size, time of change) stay."""
        columns = self.columns("video", "size", "modified", "content")
        return {(video, size, modified): content for video, size, modified, content in columns}


class Writer:
    """Adds rows to a series. What is added is on disk after `flush`, and at the end of the `with` block."""

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        schema: pa.Schema,
        verify_rows: bool = True,
        part: Part | None = None,
    ) -> None:
        """Rows that are there and damaged are made again; `verify_rows` looks for such in lists of numbers too.

        One command writes at a time, or one for each `part` of a job, into shards that its name is in."""
        self.folder, self.schema = folder, schema
        self.prefix = "shard-" if part is None else part.file("shard-part") + "-"
        self.pending: list[dict[str, Any]] = []
        self.pending_bytes = 0
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            busy = CorpusError(f"another command is writing to {folder}: wait until it ends")
            stack.enter_context(lock(lock_of(folder, part), busy, PATIENCE))
            remove_leftovers(folder)
            self.series = repaired(folder, about)
            if verify_rows:
                for shard, numbers in enumerate(self.series.numbers):
                    if not all(map(numbers.fit, range(len(numbers.check)))):
                        self.series.drop(shard)
            self.keys = set(self.series.rows)
            self.others = opened(shared(folder))
            self.stack = stack.pop_all()

    def __contains__(self, key: bytes) -> bool:
        """Whether the row is there; one that a corpus beside this has is copied."""
        return key in self.keys or self.copied(key)

    def copied(self, key: bytes) -> bool:
        for series in self.others:
            if (index := series.rows.get(key)) is None:
                continue
            try:
                series.verify(*index)
            except CorpusError:
                continue  # damaged there, so it is made here
            batch = series.batches[index[0]]
            row = {field.name: cell(batch.column(field.name)[index[1]]) for field in self.schema}
            self.add(row, batch.nbytes // len(batch))
            return True
        return False

    def add(self, row: dict[str, Any], size: int) -> None:
        """`row` holds a value for every column, `size` is about how many bytes that is."""
        if row["key"] in self.keys:
            return
        self.keys.add(row["key"])
        self.pending.append(row)
        self.pending_bytes += size
        if self.pending_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what was added since the last time as one shard."""
        if not self.pending:
            return
        ends = (path.stem.removeprefix(self.prefix) for path in self.folder.glob(f"{self.prefix}*.arrow"))
        number = max((int(end) for end in ends if end.isdigit()), default=-1) + 1  # a damaged one may be deleted
        columns = [column(field.type, [row[field.name] for row in self.pending]) for field in self.schema]
        batch = with_checks(pa.record_batch(columns, schema=self.schema))
        with (
            writing(self.folder / f"{self.prefix}{number:06d}.arrow") as part,
            pa.ipc.new_file(part, batch.schema) as writer,
        ):
            writer.write_batch(batch)
        self.pending, self.pending_bytes = [], 0

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self.stack:
            self.flush()


def opened(folders: Iterable[Path]) -> list[Series]:
    """The series that can be read."""
    found = []
    for folder in folders:
        with contextlib.suppress(CorpusError):
            found.append(Series(folder))
    return found


def cell(value: pa.Scalar) -> Any:
    """A value of a row as `Writer.add` takes it: lists of numbers as NumPy arrays."""
    kind = value.type
    if (pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)) and value.values is not None:
        return value.values.to_numpy(zero_copy_only=False)
    return value.as_py()


def column(kind: pa.DataType, values: list[Any]) -> pa.Array:
    """An Arrow array; lists of numbers come as NumPy arrays and are joined without a Python loop over numbers."""
    if pa.types.is_large_list(kind):
        import numpy as np

        flat = np.concatenate([value.reshape(-1) for value in values])
        ends = np.cumsum([0, *(value.size for value in values)], dtype=np.int64)
        return pa.LargeListArray.from_arrays(pa.array(ends), pa.array(flat, type=kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        import numpy as np

        return pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(values)), kind.list_size)
    return pa.array(values, type=kind)


def repaired(folder: Path, about: Mapping[str, Any]) -> Series:
    """The series of what `about` says, begun where there is none; the folder is named by it, so a damaged
    `about.json` can be written again."""
    record = {"format": FORMAT, **about}
    try:
        series = Series(folder, repair=True)
        if series.about == json.loads(json.dumps(record)):
            return series
    except CorpusError:
        pass
    write_json(folder / "about.json", record)
    return Series(folder, repair=True)


class Numbers:
    """The lists of numbers of a shard, and which of its rows have been verified."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        there = CHECK.name in batch.schema.names
        self.check = batch.column(CHECK.name).to_pylist() if there else [None] * len(batch)
        self.arrays = arrays_of(batch)
        self.verified = bytearray(len(self.check))

    def fit(self, row: int) -> bool:
        if not self.verified[row] and self.check[row] in (None, crc32_of(self.arrays, row)):
            self.verified[row] = 1
        return bool(self.verified[row])


def arrays_of(batch: pa.RecordBatch) -> list[tuple[Any, Any]]:
    """(offsets, numbers) of each column of lists of numbers."""
    found = []
    for array in batch.columns:
        if pa.types.is_large_list(array.type):
            found.append((array.offsets.to_numpy(), array.values.to_numpy()))
        elif pa.types.is_fixed_size_list(array.type):
            found.append(
                (range(0, (len(array) + 1) * array.type.list_size, array.type.list_size), array.values.to_numpy())
            )
    return found


def crc32_of(arrays: list[tuple[Any, Any]], row: int) -> int:
    digest = 0
    for offsets, numbers in arrays:
        part = numbers[offsets[row] : offsets[row + 1]]
        digest = zlib.crc32(part.view("u1"), zlib.crc32(b"%d" % len(part), digest))
    return digest


def with_checks(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with their checks, and a checksum of all else in the metadata."""
    arrays = arrays_of(batch)
    checks = pa.array([crc32_of(arrays, row) for row in range(len(batch))], CHECK.type)
    whole = pa.record_batch([*batch.columns, checks], schema=batch.schema.append(CHECK))
    return whole.replace_schema_metadata({FIELD: checksum(whole)})


def checksum(batch: pa.RecordBatch) -> str:
    """Of all but the lists of numbers."""
    digest = hashlib.blake2b(digest_size=8)
    for field, array in zip(batch.schema, batch.columns, strict=True):
        numbers = pa.types.is_large_list(field.type) or pa.types.is_fixed_size_list(field.type)
        digest.update(repr((field.name, str(field.type), None if numbers else array.to_pylist())).encode())
    return digest.hexdigest()


def read_shard(path: Path) -> pa.RecordBatch:
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        batch.validate(full=True)
        if FIELD.encode() not in (batch.schema.metadata or {}) and CHECK.name not in batch.schema.names:
            return batch  # of an earlier version
        if (batch.schema.metadata or {}).get(FIELD.encode(), b"").decode() != checksum(batch):
            raise Damaged("it carries no checksum that fits its content")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Damaged(str(error).splitlines()[0]) from error
    return batch


def series_folder(root: Path, about: Mapping[str, Any]) -> Path:
    """The folder of the series that `about` describes: its name is a digest of all of it."""
    text = json.dumps({"format": FORMAT, **about}, sort_keys=True)
    return root / hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def choose(folder: Path) -> None:
    """Makes this series the one that is read."""
    write_atomically(folder.parent / "current", f"{folder.name} {checksum_of_name(folder.name)}\n".encode())


def chosen(root: Path) -> Path | None:
    """The series that is read, None where nothing was ever finished."""
    path = root / "current"
    try:
        name, _, digest = path.read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n").partition(" ")
    except FileNotFoundError:
        return None
    if name != file_name(name):
        raise CorpusError(f"{path} names no folder beside it ({name!r}); run the command that made it again")
    if digest != checksum_of_name(name) and not BARE.fullmatch(name + digest):
        raise CorpusError(f"{path} is damaged (its checksum does not fit); run the command that made it again")
    return within(root, name)


def checksum_of_name(name: str) -> str:
    return f"{zlib.crc32(os.fsencode(name)):08x}"
