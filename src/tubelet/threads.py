"""How many threads compute, and whether they spin or sleep while they wait.

Threads of OpenMP spin while they wait for one another, as it takes long to wake one. Beside busy neighbours one of them
is always without a processor, and the others burn theirs until it has one again: `tiny` takes three times the processor
time, most of it for nothing. So they spin for a moment where each has a processor to itself, and sleep at once where it
has not. OpenMP reads how to wait once, when it is loaded with torch, so this comes before the first import of it.
"""

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tubelet.errors import RecipeError

# Of GNU's OpenMP the turns of a loop, about half a millisecond; of LLVM's and Intel's milliseconds.
SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
SPINNING = SLEEPING | {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LOAD = Path("/proc/loadavg")  # its fourth field says how many threads run or wait for a processor, this one among them
LOOKS, APART = 5, 0.004  # how often it is read, and the seconds between


@contextlib.contextmanager
def computing(threads: int | None = None) -> Iterator[None]:
    """So many threads (None: as many as the libraries take) in this process and those that it starts.

    Who has said how threads wait has decided it: none of it is changed then.
    """
    if threads is not None and threads < 1:
        raise RecipeError(f"--threads {threads} must be at least 1")
    chosen = {} if set(SLEEPING) & set(os.environ) else waiting(threads)
    if threads is not None:
        chosen |= dict.fromkeys(COUNTS, str(threads))
    torch = sys.modules.get("torch")
    before, count = {name: os.environ.get(name) for name in chosen}, torch.get_num_threads() if torch else None
    os.environ.update(chosen)
    if torch and threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if torch and threads is not None:
            torch.set_num_threads(count)


def waiting(threads: int | None = None) -> dict[str, str]:
    """The environment variables that say how this many threads wait; once torch is loaded they have no effect."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("OMP_NUM_THREADS", "")
    count = threads or (int(given) if given.isdecimal() else processors)
    if count < 2 or "torch" in sys.modules:
        return dict(SLEEPING)
    others = neighbours()
    return dict(SLEEPING if others is None or others + count > processors else SPINNING)


def neighbours() -> int | None:
    """How many other threads of this machine run or wait for a processor now; None where no file says it."""
    found = []
    try:
        for look in range(LOOKS):
            time.sleep(APART if look else 0)
            found.append(int(LOAD.read_text().split()[3].partition("/")[0]) - 1)
    except (OSError, ValueError, IndexError):
        return None
    return max(0, round(statistics.median(found)))
