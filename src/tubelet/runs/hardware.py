"""The machine that a run is computed on, as its recipe.json says it."""

import contextlib
import os
import platform
from pathlib import Path
from typing import NotRequired, TypedDict

import torch


class Hardware(TypedDict):
    machine: str
    processor: str
    cpu_capability: str
    cores: int | None
    threads: int
    gpu: NotRequired[str]


def hardware() -> Hardware:
    found: Hardware = {
        "machine": platform.machine(),
        "processor": processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def processor() -> str:
    """The name of the processor as the kernel gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
