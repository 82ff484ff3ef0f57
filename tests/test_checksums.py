"""Whatever single bit of a file is flipped: it is refused, or says what it said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tubelet import checksums
from tubelet.checksums import Damaged
from tubelet.errors import RunError


class Said(TypedDict):
    name: str
    number: int
    share: float | None
    parts: list[dict[str, float]]


SAID: Said = {"name": "é", "number": 3, "share": 0.1, "parts": [{"a": 1.5}]}
TABLE = pa.table({"text": ["x", None], "number": [1.0, 2.0]}).replace_schema_metadata({"made by": "us"})
TENSORS = {"weight": torch.arange(6.0).reshape(2, 3)}


def write_lines(path: Path) -> None:
    path.write_bytes(checksums.json_line({"kind": "step", "loss": 0.25}) + checksums.json_line({"kind": "end"}))


def read_json(path: Path) -> Any:
    return checksums.read_json(path, Said, RunError, "restore it")


def read_lines(path: Path) -> Any:
    return [record for record, _ in checksums.read_json_lines(path, RunError, "restore it")]


def read_safetensors(path: Path) -> Any:
    tensors, metadata = checksums.read_safetensors(path)
    return {name: value.tolist() for name, value in tensors.items()}, metadata


def read_parquet(path: Path) -> Any:
    table = checksums.read_parquet(path)
    return table.to_pydict(), table.schema.metadata


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (lambda path: checksums.write_json(path, SAID), read_json),
        (write_lines, read_lines),
        (lambda path: checksums.write_safetensors(path, TENSORS, {"step": "3"}), read_safetensors),
        (lambda path: checksums.write_parquet(path, TABLE), read_parquet),
    ],
    ids=["json", "json lines", "safetensors", "parquet"],
)
def test_no_single_flipped_bit_is_read_as_other_content(
    tmp_path: Path, write: Callable[[Path], None], read: Callable[[Path], Any]
) -> None:
    whole, flipped = tmp_path / "whole", tmp_path / "flipped"
    write(whole)
    wanted, content = read(whole), whole.read_bytes()
    for bit in range(0, len(content) * 8, 11):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        flipped.write_bytes(damaged)
        checksums.verified.cache_clear()
        try:
            found = read(flipped)
        except (RunError, Damaged):
            continue
        assert found == wanted, bit


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    checksums.write_json(tmp_path / "said.json", SAID)
    assert read_json(tmp_path / "said.json") == SAID
    checksums.write_parquet(tmp_path / "table", TABLE)
    assert checksums.read_parquet(tmp_path / "table").equals(TABLE, check_metadata=True)
    assert pq.read_table(tmp_path / "table").to_pydict() == TABLE.to_pydict()
    checksums.write_safetensors(tmp_path / "weights", TENSORS, {"step": "3"})
    assert read_safetensors(tmp_path / "weights") == ({"weight": [[0, 1, 2], [3, 4, 5]]}, {"step": "3"})
    assert checksums.read_safetensors_metadata(tmp_path / "weights") == {"step": "3"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"number": "3"}, 'number is "3", not a whole number'),
        ({"number": True}, "number is true, not a whole number"),
        ({"share": "half"}, 'share is "half", not a number or null'),
        ({"share": float("nan")}, "share is NaN, not a number or null"),
        ({"parts": [{"a": None}]}, r"parts\[0\]\.a is null, not a number"),
        ({"parts": {}}, r"parts is \{\}, not a list"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    checksums.write_json(tmp_path / "said.json", {**SAID, **changed})
    with pytest.raises(RunError, match=rf"said\.json is damaged and cannot be read \({said}\); restore it"):
        read_json(tmp_path / "said.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "it is no JSON"),
        (b"\xff{}", "it is no UTF-8"),
        (b"[]", "it is no JSON object"),
        (b'{"name": "x"}', "it lacks number"),
        (b'{"name": "x", "checksul": "blake2b:0"}', "its checksum is damaged"),
        (b'{"name": "x", "checksum": "0"}', "its checksum does not fit its content"),
        (b"[" * 100_000, "it is no JSON"),
    ],
)
def test_what_we_did_not_write_is_refused_by_name(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "said.json").write_bytes(text)
    with pytest.raises(RunError, match=rf"said\.json is damaged and cannot be read \({said}.*; restore it") as caught:
        read_json(tmp_path / "said.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", [b'{"kind": "ste', b"\0" * 20, b""])
def test_only_an_unfinished_last_line_may_go(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "log.jsonl"
    write_lines(path)
    path.write_bytes(path.read_bytes() + end)
    records = checksums.read_json_lines(path, RunError, "restore it")
    assert [record for record, _ in records] == [{"kind": "step", "loss": 0.25}, {"kind": "end"}]
    with checksums.open_json_lines(path, records[-1][1]) as file:
        file.write(checksums.json_line({"kind": "more"}))
    assert [record["kind"] for record in read_lines(path)] == ["step", "end", "more"]


def test_a_record_of_which_the_line_feed_alone_is_damaged_stays(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_lines(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x0b")
    records = checksums.read_json_lines(path, RunError, "restore it")
    with checksums.open_json_lines(path, records[-1][1]) as file:
        file.write(checksums.json_line({"kind": "more"}))
    assert [record["kind"] for record in read_lines(path)] == ["step", "end", "more"]


def test_a_damaged_line_in_the_middle_is_refused_by_number(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_lines(path)
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.26"))
    with pytest.raises(RunError, match=r"log\.jsonl is damaged in line 1 \(its checksum does not fit"):
        read_lines(path)
