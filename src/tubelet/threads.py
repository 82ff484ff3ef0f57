"""How many threads compute, and that they sleep while they wait.

Threads of OpenMP spin while they wait for one another. Beside busy neighbours one of them is always without a
processor, and the others burn theirs until it has one again: `tiny` takes three times the processor time, most of it
for nothing. OpenMP reads how to wait once, when it is loaded with torch, so this comes before the first import of it.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from tubelet.errors import RecipeError

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}  # of GNU's, of LLVM's and Intel's
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextlib.contextmanager
def computing(threads: int | None = None) -> Iterator[None]:
    """So many threads (None: as many as the libraries take) in this process and those that it starts.

    Who has said how threads wait has decided it: none of it is changed then.
    """
    if threads is not None and threads < 1:
        raise RecipeError(f"--threads {threads} must be at least 1")
    chosen = {} if set(WAITING) & set(os.environ) else dict(WAITING)
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
