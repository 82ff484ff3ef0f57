"""The record of a run: JSON lines on disk, and TensorBoard or other loggers too where they are asked for."""

import contextlib
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tubelet.checksums import Record, json_line, open_json_lines, plain
from tubelet.errors import RunError, TubeletError
from tubelet.files import write_atomically
from tubelet.loggers import Logger, open_loggers
from tubelet.results import Metric
from tubelet.run_record import read_log_records


class Log:
    """Appends records to `path`. What was written after step `keep` belongs to a lost future and is cut off first.

    Without a path it swallows everything, which is what all ranks but the first do.
    """

    def __init__(
        self,
        path: Path | None,
        keep: int = 0,
        tensorboard: bool = False,
        again: bool = False,
        loggers: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        prometheus: str | None = None,
    ):
        self.path = path
        self.gauges = Path(prometheus) if prometheus and path else None
        self.file: BinaryIO | None = None
        self.board: Any = None
        self.loggers: list[Logger] = []
        if path is not None:
            self.loggers = open_loggers(loggers, path.parent, keep, config or {})
            self.file = open_json_lines(path, kept(path, keep, again))
            if tensorboard:
                self.board = open_board(path.parent / "tensorboard", keep)

    def write(self, kind: str, step: int, **values: Any) -> None:
        if self.file is None:
            return
        self.check_in_place()
        metrics: Mapping[str, Metric] = values.get("metrics") or {}
        if "metrics" in values:
            values |= {"metrics": {name: metric.to_json() for name, metric in metrics.items()}}
        record = {"kind": kind, "step": step, **values, "time": round(time.time(), 3)}
        self.file.write(json_line(plain(record)))
        self.file.flush()
        if self.gauges is not None and self.path is not None and kind == "step":
            write_atomically(self.gauges, gauges(str(self.path.parent), record).encode())
        if self.board is not None or self.loggers:
            prefix = f"{values['name']}/" if kind == "evaluation" else ""
            found = {name: one.value for name, one in metrics.items()} or values
            numbers = {prefix + name: value for name, value in found.items() if isinstance(value, int | float)}
            for name, value in numbers.items() if self.board is not None else ():
                self.board.add_scalar(name, value, step)
            for logger in self.loggers:
                logger.log(numbers, step=step)

    def sync(self) -> None:
        """Everything written so far is on the disk."""
        if self.file is not None:
            self.check_in_place()
            os.fsync(self.file.fileno())

    def check_in_place(self) -> None:
        """`RunError` where the file is no longer the one at its path: what is written would be lost without a word."""
        assert self.file is not None
        assert self.path is not None
        try:
            there = os.path.samestat(os.stat(self.path), os.fstat(self.file.fileno()))
        except (FileNotFoundError, NotADirectoryError):
            there = False
        if not there:
            raise RunError(
                f"{self.path} was deleted or moved while this run was writing it; the run has stopped and writes "
                "nothing more: give the same command again to begin anew, or move the folder back to go on from its "
                "checkpoint"
            )

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for sink in (self.file, self.board):
            if sink is not None:
                sink.close()
        for logger in self.loggers:
            logger.finish()


def gauges(run: str, record: Mapping[str, Any]) -> str:
    """The numbers of a record as gauges of Prometheus's text format: `tubelet_pixels_baseline{run="runs/a"} 0.8`."""
    label = run.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    lines = []
    for name, value in record.items():
        if isinstance(value, int | float):
            metric = f"tubelet_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}"
            lines += [f"# TYPE {metric} gauge", f'{metric}{{run="{label}"}} {value!r}']
    return "\n".join(lines) + "\n"


def read_log(path: Path) -> list[Record]:
    """The whole records of a log; a last line that was cut short is left out."""
    return [record for record, _ in read_log_records(path)]


def kept(path: Path, keep: int, again: bool = False) -> int:
    """Where the last record of step `keep` or before ends; 0 keeps nothing. What was measured at that step is not kept
    where it is measured `again`."""
    ends = [0]
    for record, end in read_log_records(path):
        if keep == 0 or record["step"] > keep:
            break
        if not again or record["kind"] == "step" or record["step"] < keep:
            ends.append(end)
    return ends[-1]


def versions() -> dict[str, str]:
    """Of what decides a number."""
    found = {"python": platform.python_version()}
    for package in ("tubelet", "torch", "numpy", "av", "safetensors", "chz"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def open_board(folder: Path, keep: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TubeletError(
            "tensorboard=True needs TensorBoard, which is not installed; install `tubelet[track]` or leave it off"
        ) from error
    return SummaryWriter(str(folder), purge_step=keep + 1)


class Pace:
    """The time left in a run: steps at the mean pace of all after the first, which is slow, saving included; and each
    evaluation that is still to come, at the mean of those that were."""

    def __init__(self, total: int, first: int, every: int, now: float):
        self.total, self.first, self.every = total, first, every
        self.began, self.since = now, first
        self.evaluations, self.measuring = 0, 0.0

    def evaluated(self, seconds: float) -> None:
        self.evaluations += 1
        self.measuring += seconds

    def left(self, done: int, now: float) -> float:
        """Seconds to the last step, after this one."""
        steps = (now - self.began - self.measuring) / max(done - self.since, 1) * (self.total - done)
        if self.since == self.first:  # the clock starts anew after the first step
            self.began, self.since = now - self.measuring, done
        coming = max(0, (self.total - 1) // self.every - done // self.every) if self.every else 0
        return steps + coming * self.measuring / max(self.evaluations, 1)


def relative_losses(terms: Mapping[str, Any]) -> str:
    """Each loss that logs a baseline, relative to it: `pixels 0.83 of baseline`; without one, the loss."""
    shares = [
        f"{name} {value / terms[f'{name}.baseline']:.3f} of baseline"
        for name, value in terms.items()
        if terms.get(f"{name}.baseline")
    ]
    return "  ".join(shares) or f"loss {terms['loss']:.3f}"
