"""What could not be done, kept in `failed.jsonl` so that the next call does not try it again."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from tubelet.checksums import json_line, misfit, open_json_lines, read_json_lines
from tubelet.errors import TubeletError
from tubelet.files import lock
from tubelet.jobs import parts
from tubelet.jobs.parts import Part, PartIsRunning
from tubelet.jobs.pool import Failure
from tubelet.jobs.tasks import Task

FAILED = "failed.jsonl"
OF_THE_NETWORK = ("unreachable", "denied", "changed")  # failures that say nothing of the file: they are not remembered


class Failed(TypedDict):
    """A line of `failed.jsonl`."""

    key: str
    reason: str
    status: str


class Forgotten(TypedDict):
    """One that takes back what a line before it says."""

    key: str
    reason: None


class Failures:
    """Why tasks have no result, by key; one JSON object a line in a file, or nowhere. The last word on a key counts."""

    def __init__(self, path: Path | None, folder: Path | None = None) -> None:
        """`folder` is where parts of the job say what failed, and that they are finished (None: beside the file)."""
        self.path = path
        self.folder = path.parent if folder is None and path is not None else folder
        self.known: dict[str, Failure] = {}
        self.end = 0  # what follows, a power cut left unfinished
        for said, end in [] if path is None else lines_of(path):
            self.end = end
            self.know(said)

    @classmethod
    def of(cls, path: Path, part: Part | None, folder: Path | None = None) -> "Failures":
        """Of the whole job, which takes over what its parts have said; or of a part, which says it beside."""
        common = cls(path, folder)
        assert common.folder is not None
        if part is not None:
            own = cls(common.folder / part.file("failed", ".jsonl"))
            own.known = {**common.known, **own.known}
            return own
        for ended in parts.saying(common.folder, "failed", ".jsonl"):
            other = common.folder / ended.file("failed", ".jsonl")
            with contextlib.suppress(PartIsRunning), lock(parts.lock_of(common.folder, ended), PartIsRunning(), 0.0):
                for said, _ in lines_of(other):
                    common.know(said)
                    common.say(said)
                other.unlink()
        return common

    def know(self, said: Mapping[str, Any]) -> None:
        if said["reason"] is None:
            self.known.pop(said["key"], None)
        else:
            self.known[said["key"]] = Failure(said["reason"], said["status"])

    def get(self, key: str) -> Failure | None:
        return self.known.get(key)

    def add(self, task: Task, failure: Failure) -> None:
        if failure.status in OF_THE_NETWORK:
            return
        if self.known.get(task.key) != Failure(failure.reason, failure.status):
            self.known[task.key] = Failure(failure.reason, failure.status)
            self.say({"key": task.key, "id": task.name, "status": failure.status, "reason": failure.reason})

    def forget(self, key: str) -> None:
        if self.known.pop(key, None):
            self.say({"key": key, "reason": None})

    def say(self, line: Mapping[str, Any]) -> None:
        if self.path is not None:
            with open_json_lines(self.path, self.end) as file:
                file.write(json_line(line))
                file.flush()
                os.fsync(file.fileno())
                self.end = file.tell()


def lines_of(path: Path) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Each line, and where it ends."""
    remedy = "delete it, and what failed is tried again"
    for number, (said, end) in enumerate(read_json_lines(path, TubeletError, remedy), 1):
        if fault := misfit(said, Forgotten if said.get("reason", "") is None else Failed):
            raise TubeletError(f"{path} is damaged in line {number} ({fault}); {remedy}")
        yield said, end
