"""What a folder of ours holds, but for what differs from call to call: times, and how long things took."""

import csv
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open

FLEETING = {
    "time", "seconds", "processor_seconds", "processor", "clips_per_second", "checksum", "ms", "milliseconds",
    "modified", "decoded", "measured_at", "made", "data_wait", "memory", "gpu_memory",
}  # fmt: skip
CLOCKS = re.compile(rb"\d+(\.\d+)?( to \d+(\.\d+)?)? (s|ms|min|clips/s|videos/s)\b")


def content_of(folder: Path) -> dict[str, Any]:
    """By path below the folder, what every file says."""
    return {str(path.relative_to(folder)): said(path) for path in sorted(folder.rglob("*")) if not path.is_dir()}


def said(path: Path) -> Any:
    kind = path.suffix
    if path.name == "output.txt":
        return None  # of a cell of a study: every call that worked on it adds what it said
    if kind == ".json":
        about = lasting(json.loads(path.read_text()))
        if (path.parent / "frames.bin").exists():
            del about["index"]  # a checksum of its rows
        return about
    if kind == ".jsonl":
        return [lasting(json.loads(line)) for line in path.read_text().splitlines()]
    if kind == ".parquet":
        table = pq.read_table(path)
        return lasting(table.to_pydict())
    if kind == ".arrow":
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        return lasting(batch.to_pydict())
    if kind == ".safetensors":
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return {name: digest(value.tobytes()) for name, value in tensors.items()}, lasting(file.metadata() or {})
    if path.name == "frames.bin":
        return path.stat().st_size
    if path.name == "index.npz":
        return cached(path.parent)
    if kind == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: digest(arrays[name].tobytes()) for name in arrays.files}
    if kind == ".csv":
        return list(csv.reader(io.StringIO(path.read_text())))
    if kind in (".html", ".md", ".txt"):
        return digest(CLOCKS.sub(b"", path.read_bytes()))
    return digest(path.read_bytes())


def cached(folder: Path) -> Any:
    """By key, the frames of a cache and their times: its rows lie in the order in which workers ended."""
    frames = (folder / "frames.bin").read_bytes()
    with np.load(folder / "index.npz", allow_pickle=False) as found:
        index, times = found["index"], found["times"]
    return {
        row["key"].tobytes().hex(): (
            [int(row[name]) for name in ("frames", "height", "width", "check")],
            digest(frames[row["offset"] :][: 3 * row["frames"] * row["height"] * row["width"]]),
            times[row["times"] :][: row["frames"]].tolist(),
        )
        for row in index
    }


def lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: lasting(part) for name, part in value.items() if name not in FLEETING}
    if isinstance(value, list):
        return [lasting(part) for part in value]
    if isinstance(value, float) and value != value:
        return "NaN"
    if isinstance(value, str) and value.startswith("{"):
        try:
            return lasting(json.loads(value))
        except ValueError:
            return value
    return value


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
