"""The tasks of a job, and how they are shared out: into shards, and into the parts of several machines."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from tubelet.errors import TubeletError
from tubelet.jobs.parts import Part
from tubelet.remote.address import is_remote
from tubelet.video.content import known_state_of, state_of

FEWEST, MOST = 8, 256  # tasks of a shard; between them a fiftieth of all
T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """One video's worth of a job. All of it pickles."""

    key: str  # another one as soon as the file, or what is asked of it, is another
    name: str  # for people
    pieces: tuple[Any, ...]  # the job's function gets one at a time
    about: Any = None  # what else the job wants to know of it
    of: Any = None  # what it is of, as a row of a table, for who keeps the result


class Tasks(Sequence[Task]):
    """A task for each of many things, as the rows of a large table, made when it is asked for."""

    def __init__(self, things: Sequence[Any], task_of: Callable[[Any], Task]) -> None:
        self.things, self.task_of = things, task_of

    def __len__(self) -> int:
        return len(self.things)

    @overload
    def __getitem__(self, index: int) -> Task: ...

    @overload
    def __getitem__(self, index: slice) -> "Tasks": ...

    def __getitem__(self, index: int | slice) -> "Task | Tasks":
        if isinstance(index, slice):
            return Tasks(self.things[index], self.task_of)
        return self.task_of(self.things[index])

    def __iter__(self) -> Iterator[Task]:
        return map(self.task_of, self.things)


@dataclass(frozen=True)
class Shard:
    """Tasks whose results are kept together."""

    tasks: tuple[Task, ...]


def into_shards(tasks: Sequence[Task], most: int = MOST) -> list[Shard]:
    """The same shards for the same tasks, whatever of them is done: that decides only what is left of each."""
    return [Shard(tuple(some)) for some in cut(tasks, most)]


def shard_size(tasks: int, most: int = MOST) -> int:
    return min(max(tasks // 50, FEWEST), most)


def cut(tasks: Sequence[T], most: int = MOST) -> list[Sequence[T]]:
    size = shard_size(len(tasks), most)
    return [tasks[at : at + size] for at in range(0, len(tasks), size)]


def share(tasks: Sequence[T], part: Part | None) -> Sequence[T]:
    """Of what a job has a task for each: what is for this part of it."""
    return tasks if part is None else [task for some in part.share(cut(tasks)) for task in some]


def file_key(path: Path, *question: Any) -> str:
    """The file as it is now, and what is asked of it, without reading it. A remote file is as it was when it was
    listed: stores are not asked for each of a million."""
    try:
        state = state_of(path) if not is_remote(path) else known_state_of(path) or (-1, -1)
    except (OSError, TubeletError):
        state = (-1, -1)
    return hashlib.blake2b(repr((str(path), state, question)).encode(), digest_size=16).hexdigest()
