"""The bar on stderr: what is done, how fast, when it will end. Results alone go to stdout.

It refreshes when it is told something, not from a thread of its own: work that forks processes needs this one alone.
Nothing is drawn before there is something to tell, so that an error stands alone.
"""

import time
from datetime import datetime, timedelta
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tubelet.console import Console, Progress

EVERY = 0.2  # seconds between two pictures
SPEAK = 30.0  # seconds between two lines where there is no terminal


class EndColumn(ProgressColumn):
    """When it will be over, by the clock."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        return Text("" if left is None or task.finished else f"until {clock(left)}")


def clock(left: float | int) -> str:
    """The time of day so many seconds from now, with the day where that is another."""
    now = datetime.now()
    end = now + timedelta(seconds=left)
    return f"{end:%H:%M}" if end.date() == now.date() else f"{end:%d %b %H:%M}"


class Bar:
    """`with Bar("decoding", "videos") as bar: work(progress=bar)`; called with what is done, the total and a remark.

    Off a terminal it prints a line every half minute.
    """

    def __init__(self, doing: str, unit: str) -> None:
        self.doing, self.unit = doing, unit
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal
        self.bar = Progress(
            TextColumn(doing, markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            EndColumn(),
            console=self.console,
            auto_refresh=False,
            disable=not self.live,
        )
        self.task = self.bar.add_task(doing, total=None, rate="")
        self.began, self.shown = False, time.monotonic()

    def __call__(self, done: int, total: int, remark: str = "") -> None:
        if total < 1:
            return
        if not self.began:
            self.began = True
            self.bar.start()
        now, speed = time.monotonic(), self.bar.tasks[0].speed
        rate = ", ".join(filter(None, [f"{speed:.3g} {self.unit}/s" if speed else "", remark]))
        self.bar.update(self.task, completed=done, total=total, rate=rate)
        if now - self.shown < (EVERY if self.live else SPEAK) and not (self.live and done == total):
            return
        self.shown = now
        if self.live:
            self.bar.refresh()
        else:
            self.console.print(self.line(done, total, rate), soft_wrap=True)

    def line(self, done: int, total: int, rate: str) -> str:
        """The picture in words."""
        left = self.bar.tasks[0].time_remaining
        end = "" if left is None else f", {timedelta(seconds=round(left))} left, until {clock(left)}"
        return f"{self.doing}: {done} of {total} {self.unit}" + (f", {rate}" if rate else "") + end

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.began:
            self.bar.stop()
