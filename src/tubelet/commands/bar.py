"""The bar on the terminal: what is done, how fast, when it will end.

It refreshes when it is told something, not from a thread of its own: work that forks processes needs this one alone.
"""

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY = 0.2  # seconds between two pictures


class Bar:
    """`with Bar("decoding", "videos") as bar: work(progress=bar)`; called with what is done and the total."""

    def __init__(self, doing: str, unit: str) -> None:
        self.unit = unit
        self.bar = Progress(
            TextColumn(doing),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            auto_refresh=False,
        )
        self.task = self.bar.add_task(doing, total=None, rate="", visible=False)
        self.shown = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.shown < EVERY and done < total:
            return
        self.shown = now
        speed = self.bar.tasks[0].speed
        rate = f"{speed:.3g} {self.unit}/s" if speed else ""
        self.bar.update(self.task, completed=done, total=total, rate=rate, visible=total > 0)
        self.bar.refresh()

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()
