"""Damaged copies of good files, as disks, networks and careless tools damage them; each follows from its number."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

WAYS = ("truncated", "flipped", "swapped", "zeroed")


def mutate(content: bytes, other: bytes, way: str, rng: np.random.Generator) -> bytes:
    """The content cut short, with up to 400 bits flipped, with the head of another file, or with a block of zeros."""
    data = bytearray(content)
    if way == "truncated":
        return bytes(data[: rng.integers(1, len(data))])
    if way == "flipped":
        for bit in rng.integers(0, 8 * len(data), rng.integers(1, 401)).tolist():
            data[bit // 8] ^= 1 << bit % 8
        return bytes(data)
    length = int(rng.integers(8, min(4096, len(data) // 2)))
    if way == "swapped":
        return other[:length] + bytes(data[length:])
    at = int(rng.integers(0, len(data) - length))
    data[at : at + length] = bytes(length)
    return bytes(data)


def write_mutants(folder: Path, files: Sequence[Path], count: int, seed: int = 0) -> list[Path]:
    """So many damaged copies of these files, all files and ways in turn."""
    folder.mkdir(parents=True)
    contents = [path.read_bytes() for path in files]
    made = []
    for number in range(count):
        which = number % len(files)
        way = WAYS[number // len(files) % len(WAYS)]
        rng = np.random.default_rng([seed, number])
        other = contents[(which + 1 + int(rng.integers(len(files) - 1))) % len(files)]
        path = folder / f"{number:04} {way} {files[which].name}"
        path.write_bytes(mutate(contents[which], other, way, rng))
        made.append(path)
    return made


def resident(pid: int | str = "self") -> float:
    """MiB that a process holds now; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20
    except (OSError, ValueError, IndexError):
        return 0.0
