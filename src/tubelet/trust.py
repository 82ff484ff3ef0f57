"""Whether code that a run folder names may be executed: only where the user says so.

A run is rebuilt from the values that its recipe.json holds. Where they name a class of the file that the recipe came
from, that file would have to be run; and whoever can write into a run folder can name any file. The file that a user
names himself (`tubelet pretrain mine.py:recipe`) is trusted by that.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

TRUSTED = ContextVar("TRUSTED", default=False)


@contextlib.contextmanager
def trusting_code(trusted: bool = True) -> Iterator[None]:
    """Inside, files that run folders name may be run; with False nothing changes."""
    before = TRUSTED.set(trusted or TRUSTED.get())
    try:
        yield
    finally:
        TRUSTED.reset(before)


def trusts_code() -> bool:
    return TRUSTED.get()
