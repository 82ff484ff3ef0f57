"""How a command is asked to stop: by a person with Ctrl-C, or by a scheduler (SIGTERM, SIGUSR1) that wants the machine.

A loop that can save asks after each step (`Interruption`). Elsewhere a scheduler's signal ends the command where it is
(`preemptible`), as nothing is lost that the same command would not do again. The exit code says who asked, so that a
job script requeues what was preempted and nothing else.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

INTERRUPTED = 130  # the shell's code for Ctrl-C
PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: the same command should be run again
SCHEDULER = (signal.SIGTERM, signal.SIGUSR1)
GRACE = 20  # seconds that a loader process lives on after SIGTERM: the first process saves meanwhile
ASKED: list[int] = []  # the signal that the last loop stopped for


class Interruption:
    """Signals become a question that the loop asks after each step. Ctrl-C a second later stops it at once (`torchrun`
    repeats the one that the terminal has already sent); a scheduler that repeats itself waits for the checkpoint."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self.when = 0.0
        self.process = os.getpid()
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        ASKED.clear()
        with contextlib.suppress(ValueError):  # signals belong to the main thread
            for number in (signal.SIGINT, *SCHEDULER):
                self.before[number] = signal.signal(number, self.note)
        return self

    def note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            outlive(number)
        elif self.asked is None:
            self.asked, self.when = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self.when > 1:
            raise KeyboardInterrupt

    @property
    def preempted(self) -> bool:
        return self.asked in SCHEDULER

    def stopped(self, preempted: bool) -> None:
        """All ranks stop as one, and end with one code: a scheduler may have asked some of them alone."""
        ASKED.append(signal.SIGTERM if preempted else signal.SIGINT)

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def exit_code() -> int:
    """Of a command whose loop was stopped."""
    return PREEMPTED if ASKED and ASKED[-1] in SCHEDULER else INTERRUPTED


def outlive(number: int, frame: FrameType | None = None) -> None:
    """In a loader process, which a scheduler signals too: it goes on for as long as the first process needs it."""
    if number == signal.SIGTERM:
        signal.alarm(GRACE)


@contextlib.contextmanager
def preemptible(verb: str) -> Iterator[None]:
    """A scheduler's signal ends the block as `SystemExit`, with the code that asks for another run."""
    process, before = os.getpid(), {}

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            return outlive(number)
        said = f"{signal.Signals(number).name} has stopped it; the same command resumes from what is done"
        print(f"tubelet {verb}: {said}", file=sys.stderr)
        raise SystemExit(PREEMPTED)

    with contextlib.suppress(ValueError):
        before = {number: signal.signal(number, end) for number in SCHEDULER}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
