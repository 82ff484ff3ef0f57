"""What a benchmark leaves: one Markdown table, one plot, and every figure in one CSV, with how it was made."""

import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

Rows = Sequence[Mapping[str, Any]]
PACKAGES = ("torch", "transformers", "numpy", "av")


def markdown(rows: Rows) -> str:
    """A table of text; columns that are empty throughout are left out."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if any(row.get(name) for row in rows)]
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(str(row.get(name, '')) for name in names)} |" for row in rows]
    return "\n".join(lines)


def conditions(threads: int, device: str = "cpu") -> str:
    """The machine, the versions, the load and the command, without where somebody's checkouts are."""
    versions = ", ".join(f"{name} {number}" for name in PACKAGES if (number := installed(name)))
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    command = "python -m benchmarks " + re.sub(r"(?<![\w.])/[^ ,]+", "PATH", shlex.join(sys.argv[1:]))
    return (
        f"Measured on {time.strftime('%Y-%m-%d')}: {processor()}, {os.cpu_count()} cores, {extensions()}; device "
        f"{device}, {threads} thread{'s' * (threads > 1)}; Python {platform.python_version()}, {versions}; load {load} "
        f"at the end.\n\n    {command}\n"
    )


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor() -> str:
    return said_of_processor("model name") or platform.processor() or platform.machine()


def extensions() -> str:
    """Of the processor, those that matrix products ask for."""
    flags = said_of_processor("flags").split()
    known = {"avx512f": "AVX-512", "avx512_bf16": "AVX-512 bf16", "amx_bf16": "AMX bf16"}
    there = [text for flag, text in known.items() if flag in flags]
    missing = [] if "amx_bf16" in flags else ["no AMX"]
    return ", ".join([*there, *missing])


def said_of_processor(key: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def write(stem: Path | None, rows: Rows, figures: Rows, notes: Sequence[str], threads: int, device: str = "cpu") -> str:
    """Prints the page; with `stem`, also STEM.md and STEM.csv."""
    page = "\n\n".join([conditions(threads, device), markdown(rows), *notes]) + "\n"
    print(page)
    if stem is not None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".md").write_text(page)
        pd.DataFrame(figures).to_csv(stem.with_suffix(".csv"), index=False, float_format="%.6g")
    return page
