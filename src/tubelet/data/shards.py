"""Rows found by a 16-byte key, in Arrow IPC files that are memory-mapped: any language can read them, no copy is made.

A series is a folder: `about.json` says what made the rows, `shard-*.arrow` hold them. A shard is written whole under
another name and then renamed, so a killed writer leaves whole shards or none, and the next one goes on from there.
Several series (two models, say) stand side by side; the file `current` names the one that is read.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from tubelet.errors import CorpusError
from tubelet.files import file_name, within, write_atomically

FORMAT = 1
SHARD_BYTES = 64 << 20
PATIENCE = 10.0  # seconds to wait for another writer


class Series:
    """The rows of one folder, read where they lie. Pickling sends the folder's name alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about: dict[str, Any] = read_json(folder / "about.json")
        if self.about.get("format") != FORMAT:
            raise CorpusError(
                f"{folder} has format {self.about.get('format')}, this version reads {FORMAT}: "
                "delete the folder and run the command that made it again"
            )
        self.batches = [read_shard(path) for path in sorted(folder.glob("shard-*.arrow"))]
        self.rows: dict[bytes, tuple[int, int]] = {
            key: (shard, row)
            for shard, batch in enumerate(self.batches)
            for row, key in enumerate(batch.column("key").to_pylist())
        }

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


class Writer:
    """Adds rows to a series. What is added stands on disk after `flush`, and at the end of the `with` block."""

    def __init__(self, folder: Path, about: Mapping[str, Any], schema: pa.Schema) -> None:
        self.folder, self.schema = folder, schema
        self.pending: list[dict[str, Any]] = []
        self.pending_bytes = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = lock(folder)
        for leftover in folder.glob("*.partial"):
            leftover.unlink()
        if not (folder / "about.json").exists():
            write_atomically(folder / "about.json", (json.dumps({"format": FORMAT, **about}, indent=1) + "\n").encode())
        self.series = Series(folder)
        self.keys = set(self.series.rows)

    def __contains__(self, key: bytes) -> bool:
        return key in self.keys

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
        numbers = [int(path.stem.removeprefix("shard-")) for path in self.folder.glob("shard-*.arrow")]
        number = max(numbers, default=-1) + 1  # one that was damaged may have been deleted among them
        final = self.folder / f"shard-{number:06d}.arrow"
        partial = final.with_suffix(".partial")
        columns = [column(field.type, [row[field.name] for row in self.pending]) for field in self.schema]
        batch = pa.record_batch(columns, schema=self.schema)
        with partial.open("wb") as file:
            with pa.ipc.new_file(file, self.schema) as writer:
                writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(final)
        self.pending, self.pending_bytes = [], 0

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.flush()
        self.lock.close()


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


def read_shard(path: Path) -> pa.RecordBatch:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorpusError(f"{path} is damaged ({error}): delete it and run the command that made it again") from error


def series_folder(root: Path, about: Mapping[str, Any]) -> Path:
    """The folder of the series that `about` describes: its name is a digest of all of it."""
    text = json.dumps({"format": FORMAT, **about}, sort_keys=True)
    return root / hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def choose(folder: Path) -> None:
    """Makes this series the one that is read."""
    write_atomically(folder.parent / "current", f"{folder.name}\n".encode())


def chosen(root: Path) -> Path | None:
    """The series that is read, None where nothing was ever finished."""
    try:
        name = (root / "current").read_text(errors="surrogateescape").strip()
    except FileNotFoundError:
        return None
    if name != file_name(name):
        raise CorpusError(
            f"{root / 'current'} names no folder beside it ({name!r}); run the command that made it again"
        )
    return within(root, name)


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read ({error}): delete its folder and make it again") from error


def lock(folder: Path) -> IO[str]:
    """Held until closed, or until the process and its workers end in whatever way: a killed one's take some seconds."""
    file = (folder / ".lock").open("w")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                file.close()
                raise CorpusError(f"another command is writing to {folder}: wait until it ends") from None
            time.sleep(0.1)
        else:
            return file
