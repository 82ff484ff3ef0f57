"""A checksum in every file that we write, and its verification in every file of ours that we read.

JSON says its checksum in a field of that name, over all other fields in a canonical order; JSON lines do so line by
line. Parquet and safetensors carry one in their metadata, over all bytes of the file but its own eight digits.
`Damaged` says what is wrong; where a `read_...` is given an error, it raises that, with the file and the remedy.

A file of an earlier version carries none, and is read as it is. Two marks distinguish it from a damaged one, the name
of the field and what its value begins with: one of them may be damaged, and the other still says that there was one.
"""

import contextlib
import json
import mmap
import re
import sys
import types
import typing
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Union
from zipfile import BadZipFile

from tubelet.errors import TubeletError
from tubelet.files import write_atomically, writing

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from torch import Tensor

FIELD = "checksum"
DIGITS = re.compile(rb"crc32:([0-9a-f]{8})")
MARKS = (b"checksum", b"crc32:", b"blake2b:")
BLANK = "crc32:00000000"  # in the metadata until the file is whole
PIECE = 1 << 24  # bytes

Record = dict[str, Any]


class Damaged(ValueError):
    """Why a file is not what we wrote."""


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = 1) -> None:
    """An object with its checksum; what JSON does not know is written as text."""
    write_atomically(path, in_utf8(with_checksum(content, 16), indent) + b"\n")


def read_json(path: Path, shape: Any, error: type[TubeletError], remedy: str) -> Any:
    """What `write_json` wrote, without its checksum and of the declared shape: a `TypedDict`, or `dict[str, ...]`."""
    try:
        content = without_checksum(path.read_bytes(), 16)
        if fault := misfit(content, shape):
            raise Damaged(fault)
    except FileNotFoundError:
        raise error(f"{path} is missing; {remedy}") from None
    except (OSError, Damaged) as reason:
        raise error(f"{path} is damaged and cannot be read ({reason}); {remedy}") from None
    return content


def json_line(record: Mapping[str, Any]) -> bytes:
    """A record as one line, with its checksum."""
    return in_utf8(with_checksum(record, 4)) + b"\n"


def read_json_lines(path: Path, error: type[TubeletError], remedy: str) -> list[tuple[Record, int]]:
    """Each record with the place where it ends; none where there is no file. A last line that was not finished is left
    out, as a crash may leave one; a damaged one anywhere else is refused."""
    try:
        text = path.read_bytes() if path.exists() else b""
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason}); {remedy}") from None
    *lines, last = text.split(b"\n")
    found: list[tuple[Record, int]] = []
    end = 0
    for number, line in enumerate(lines, 1):
        try:
            found.append((without_checksum(line, 4), end + len(line) + 1))
        except Damaged as reason:
            raise error(f"{path} is damaged in line {number} ({reason}); {remedy}") from None
        end += len(line) + 1
    for whole in (last, last[:-1]):  # a record of which the line feed alone is missing or damaged
        with contextlib.suppress(Damaged):
            return [*found, (without_checksum(whole, 4), end + len(whole))]
    return found


def open_json_lines(path: Path, end: int) -> BinaryIO:
    """To write more lines after this place, where a record ends; what follows it is cut off."""
    file = path.open("ab")
    file.truncate(end)
    if end and path.read_bytes()[-1:] != b"\n":
        file.write(b"\n")
    return file


def write_safetensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> None:
    from safetensors.torch import save

    with writing(path) as part:
        part.write_bytes(save(dict(tensors), metadata={**metadata, FIELD: BLANK}))
        seal(part)


def read_safetensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Tensors and metadata of a file that `write_safetensors` wrote; `Damaged` or `OSError` where it is not that."""
    from safetensors import SafetensorError, safe_open

    verify(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return tensors, {name: text for name, text in (file.metadata() or {}).items() if name != FIELD}
    except SafetensorError as error:
        raise Damaged(str(error)) from error


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """The same without the tensors; the whole file is verified, once for as long as it does not change."""
    from safetensors import SafetensorError, safe_open

    verify(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: text for name, text in (file.metadata() or {}).items() if name != FIELD}
    except SafetensorError as error:
        raise Damaged(str(error)) from error


def write_parquet(path: Path, table: "pa.Table") -> None:
    with parquet_writer(path, table.schema) as writer:
        writer.write_table(table)


@contextlib.contextmanager
def parquet_writer(path: Path, schema: "pa.Schema") -> "Iterator[pq.ParquetWriter]":
    """Of a table that comes piece by piece; the file appears, whole, after the block."""
    import pyarrow.parquet as pq

    with writing(path) as part:
        with pq.ParquetWriter(part, schema) as writer:
            yield writer
            writer.add_key_value_metadata({FIELD: BLANK})
        seal(part)


def read_parquet(path: Path) -> "pa.Table":
    """A table that `write_parquet` or `parquet_writer` wrote; `Damaged` or `OSError` where it is not that."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    verify(path)
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except pa.ArrowException as error:
        raise Damaged(str(error).splitlines()[0]) from error
    kept = {name: text for name, text in (table.schema.metadata or {}).items() if name != FIELD.encode()}
    return table.replace_schema_metadata(kept or None)


def write_npz(path: Path, arrays: "Mapping[str, np.ndarray]") -> None:
    import numpy as np

    with writing(path) as part, part.open("wb") as file:
        content: Any = {**arrays, FIELD: np.array(crc32_of_arrays(arrays))}
        np.savez_compressed(file, **content)


def read_npz(path: Path, names: Iterable[str], error: type[TubeletError], remedy: str) -> "dict[str, np.ndarray]":
    """These arrays, in the order in which `write_npz` got them, and it got no others. The format has a checksum of its
    own for each array, so that one without ours is read as it is."""
    import numpy as np

    try:
        with path.open("rb") as held, np.load(held, allow_pickle=False) as file:  # closed where it is damaged too
            found = {name: file[name] for name in names}
            if FIELD in file.files and str(file[FIELD]) != crc32_of_arrays(found):
                raise Damaged("its checksum does not fit its content")
            return found
    except (OSError, ValueError, EOFError, LookupError, RuntimeError, BadZipFile, zlib.error) as reason:
        raise error(f"{path} is damaged ({(str(reason) or repr(reason)).splitlines()[0]}); {remedy}") from reason


def crc32_of_arrays(arrays: "Mapping[str, np.ndarray]") -> str:
    digest = 0
    for name, array in arrays.items():
        about = f"{name} {array.dtype} {array.shape}".encode()
        digest = zlib.crc32(array.tobytes(), zlib.crc32(about, digest))
    return f"{digest:08x}"


def seal(path: Path) -> None:
    """Fills in the digits of a file whose metadata say `BLANK`."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        indices = [at for at, digits in checksum_offsets(content) if digits == BLANK[-8:].encode()]
        content[indices[-1] : indices[-1] + 8] = crc32_without(content, indices[-1])


def verify(path: Path) -> None:
    """`Damaged` where the bytes of a Parquet or safetensors file are not those that were written."""
    stat = path.stat()
    verified(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def verified(path: Path, *state: int) -> None:
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise Damaged("it is empty") from None
        with content:
            indices = checksum_offsets(content)
            if not indices and any(content.find(mark) >= 0 for mark in MARKS):
                raise Damaged("its checksum is damaged")
            if indices and not any(crc32_without(content, at) == digits for at, digits in indices):
                raise Damaged("its checksum does not fit its content")


def checksum_offsets(content: mmap.mmap) -> list[tuple[int, bytes]]:
    """Offsets where a checksum may be, and its digits: in the footer of Parquet, in the header of safetensors."""
    size = len(content)
    if content[-4:] == b"PAR1":
        first, last = size - 8 - int.from_bytes(content[-8:-4], "little"), size
    else:
        first, last = 8, 8 + int.from_bytes(content[:8], "little")
    return [(match.start(1), match[1]) for match in DIGITS.finditer(content, max(0, first), min(last, size))][-8:]


def crc32_without(content: mmap.mmap, index: int) -> bytes:
    """Of all bytes, with zeros for the eight digits at this place."""
    digest = 0
    with memoryview(content) as view:
        for first, last in ((0, index), (index + 8, len(view))):
            for at in range(first, last, PIECE):
                with view[at : min(at + PIECE, last)] as piece:
                    digest = zlib.crc32(piece, digest)
                if at % mmap.PAGESIZE == 0 and hasattr(mmap, "MADV_DONTNEED"):  # it need not stay in memory
                    content.madvise(mmap.MADV_DONTNEED, at, min(PIECE, last - at))
            if first == 0:
                digest = zlib.crc32(b"0" * 8, digest)
    return f"{digest:08x}".encode()


def plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: such a number is written as null."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def with_checksum(content: Mapping[str, Any], size: int) -> Record:
    as_read = json.loads(json.dumps({name: value for name, value in content.items() if name != FIELD}, default=str))
    return {**as_read, FIELD: checksum(as_read, size)}


def without_checksum(text: bytes, size: int) -> Record:
    try:
        content = json.loads(text.decode())
    except UnicodeDecodeError:
        raise Damaged("it is no UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise Damaged("it is no JSON object")
    if FIELD not in content:
        if any(mark in text for mark in MARKS):
            raise Damaged("its checksum is damaged")
        return content
    if content.pop(FIELD) != checksum(content, size):
        raise Damaged("its checksum does not fit its content")
    return content


def checksum(content: Mapping[str, Any], size: int) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"blake2b:{blake2b(text.encode(), digest_size=size).hexdigest()}"


def in_utf8(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    try:
        return json.dumps(content, indent=indent, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a file name that is no text
        return json.dumps(content, indent=indent).encode()


def misfit(value: Any, shape: Any, name: str = "") -> str | None:
    """What of a JSON value is not of the declared shape, None where all is."""
    origin, arguments = typing.get_origin(shape), typing.get_args(shape)
    if shape is Any:
        return None
    if typing.is_typeddict(shape):
        if not isinstance(value, dict):
            return mismatch(name, value, "an object")
        if missing := sorted(shape.__required_keys__ - value.keys()):
            return f"{name or 'it'} lacks {missing[0]}"
        hints = typing.get_type_hints(shape)
        pairs = [(value[key], hint, f"{name}.{key}".lstrip(".")) for key, hint in hints.items() if key in value]
        return first_misfit(pairs)
    if origin in (Union, types.UnionType):
        return (
            None if any(misfit(value, one) is None for one in arguments) else mismatch(name, value, shape_text(shape))
        )
    if origin is Literal:
        return None if value in arguments else mismatch(name, value, shape_text(shape))
    if origin in (list, Sequence):
        if not isinstance(value, list):
            return mismatch(name, value, "a list")
        return first_misfit([(item, arguments[0], f"{name}[{index}]") for index, item in enumerate(value)])
    if origin in (dict, Mapping) or shape is dict:
        if not isinstance(value, dict):
            return mismatch(name, value, "an object")
        inner = arguments[1] if arguments else Any
        return first_misfit([(item, inner, f"{name}.{key}".lstrip(".")) for key, item in value.items()])
    right = isinstance(value, (int, float) if shape is float else shape) and isinstance(value, bool) == (shape is bool)
    if not right or (shape is float and not -sys.float_info.max <= value <= sys.float_info.max):
        return mismatch(name, value, shape_text(shape))
    return None


def first_misfit(pairs: list[tuple[Any, Any, str]]) -> str | None:
    return next((fault for one in pairs if (fault := misfit(*one))), None)


def mismatch(name: str, value: Any, wanted: str) -> str:
    shown = json.dumps(value)
    return f"{name or 'it'} is {shown if len(shown) <= 40 else shown[:37] + '...'}, not {wanted}"


WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object"}


def shape_text(shape: Any) -> str:
    """A shape in words."""
    if typing.get_origin(shape) is Literal:
        return " or ".join(json.dumps(one) for one in typing.get_args(shape))
    if typing.get_origin(shape) in (Union, types.UnionType):
        return " or ".join(shape_text(one) for one in typing.get_args(shape))
    return "null" if shape is types.NoneType else WORDS.get(typing.get_origin(shape) or shape, "what it should be")
