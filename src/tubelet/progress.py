"""How far a piece of work is: what every long function calls, and the bar that the command line draws of it.

Functions take `progress=`, any callable of (done, total, what), and are silent without one. `Bar` is the callable that
draws on standard error; results alone go to standard output.
"""

import time
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, runtime_checkable

EVERY = 0.2  # seconds between two refreshes of a terminal
SPEAK = 30.0  # seconds between two lines where there is no terminal


@runtime_checkable
class Progress(Protocol):
    """Called with what is done, the total, and what is being done or a remark ("3 failed", "loss 0.31", "")."""

    def __call__(self, done: int, total: int, what: str, /) -> object: ...


def silent(done: int, total: int, what: str = "") -> None:
    """The default: nothing is shown."""


def named(progress: Progress, work: str) -> Progress:
    """The progress of one part of longer work: its name comes before each remark."""
    return lambda done, total, what: progress(done, total, f"{work}, {what}" if what else work)


class Bar:
    """`with Bar("decoding", "videos") as bar: read(corpus, progress=bar)`: what is done, how fast, and when it ends.

    It begins anew where the total changes or less is done than before: at the next part of longer work. It refreshes
    when it is called, not from a thread of its own: work that forks processes needs this one alone. Nothing is drawn
    before the first call, so that an error stands alone. Off a terminal it prints a line every half minute.

    Not `paced`, it is the bar of work whose remarks say the pace themselves, as those of a training do; then it prints
    the first and the last line too.
    """

    def __init__(self, work: str = "", unit: str = "", *, paced: bool = True) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        from tubelet.console import Console, Display

        self.work, self.unit, self.paced = work, unit, paced
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal
        title, rate, end = (
            TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[rate]", "fields[end]")
        )
        counted = (BarColumn(), MofNCompleteColumn())
        measured = (rate, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), end)
        columns = (title, *counted, *measured) if paced else (*counted, title)
        self.bar = Display(*columns, console=self.console, auto_refresh=False, disable=not self.live)
        self.task = self.bar.add_task(work, total=None, rate="", end="")
        self.began, self.shown = False, time.monotonic()
        self.done = self.total = 0

    def __call__(self, done: int, total: int, what: str = "") -> None:
        if total < 1:
            return
        if first := not self.began:
            self.began = True
            self.bar.start()
        elif total != self.total or done < self.done:
            self.bar.reset(self.task)
        self.done, self.total = done, total
        title, remark = (self.work, what) if self.work else (what, "")
        now, speed = time.monotonic(), self.bar.tasks[0].speed
        pace = "" if not speed else f"{speed:.3g} {self.unit}/s" if self.unit else f"{speed:.3g}/s"
        rate = ", ".join(filter(None, [pace, remark]))
        left = self.bar.tasks[0].time_remaining
        end = "" if left is None or done == total else f"until {clock(left)}"
        self.bar.update(self.task, completed=done, total=total, description=title, rate=rate, end=end)
        at_once = (first or done == total) and (self.live or not self.paced)
        if now - self.shown < (EVERY if self.live else SPEAK) and not at_once:
            return
        self.shown = now
        if self.live:
            self.bar.refresh()
        else:
            self.console.print(self.line(title, rate), soft_wrap=True)

    def line(self, title: str, rate: str) -> str:
        """The bar in words."""
        if not self.paced:
            return f"step {self.done}/{self.total}  {title}"
        left = self.bar.tasks[0].time_remaining
        end = "" if left is None else f", {timedelta(seconds=round(left))} left, until {clock(left)}"
        of = f"{self.done} of {self.total} {self.unit}".rstrip()
        return f"{title}: {of}" + (f", {rate}" if rate else "") + end

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.began:
            self.bar.stop()


def clock(left: float | int) -> str:
    """The time of day in `seconds` from now, with the day where that is another."""
    now = datetime.now()
    end = now + timedelta(seconds=left)
    return f"{end:%H:%M}" if end.date() == now.date() else f"{end:%d %b %H:%M}"
