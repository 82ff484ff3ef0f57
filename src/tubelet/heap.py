"""The memory of this process: what a step has freed stays with it, for the next step."""

import ctypes
import os
import sys

TRIM, MMAP = -1, -3  # of `mallopt` in malloc.h: from how much free memory on the heap shrinks; what is mapped apart
LARGEST = 32 << 20  # glibc maps larger pieces separately at any setting


def keep_freed_memory() -> bool:
    """Asks glibc to give nothing back until the process ends; False where there is no glibc, or a user has decided.

    It gives the large tensors of a step back when they are freed, and the kernel fills every page anew with zeros in
    the next step: a tenth to a fifth of the time of a small model (docs/results/speed-of-recipes.md).
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP, LARGEST) and mallopt(TRIM, 2**31 - 1))


def resident() -> int:
    """Bytes that this process holds in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
