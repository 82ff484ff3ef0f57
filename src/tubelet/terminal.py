"""The terminal: everything that the command line prints passes here, so that no name or caption can steer it.

`print` goes through `shown_streams`, which `tubelet.cli.main` sets up; tables and bars go through `tubelet.console`.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from tubelet.escape import visible


class Shown:
    """A stream on which control characters are seen and do nothing."""

    def __init__(self, stream: Any) -> None:
        self.rich_proxied_file = stream  # as rich calls what lies beneath a stream of its own

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def visible_stream(stream: Any) -> Any:
    return stream if isinstance(stream, Shown) else Shown(stream)


def beneath(stream: Any) -> Any:
    """What is written to in the end: where rich sends its own colours and movements."""
    while (inner := getattr(stream, "rich_proxied_file", None)) is not None:
        stream = inner
    return stream


def open_closed_streams() -> None:
    """Standard streams that the shell closed (`>&-`) lead nowhere; otherwise the next file that is opened takes the
    number of one, and what is printed lands in it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))


@contextlib.contextmanager
def shown_streams() -> Iterator[None]:
    """Inside, standard output and standard error are `Shown`."""
    with (
        contextlib.redirect_stdout(visible_stream(sys.stdout)),
        contextlib.redirect_stderr(visible_stream(sys.stderr)),
    ):
        yield
