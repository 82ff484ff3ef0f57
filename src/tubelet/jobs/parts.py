"""A job in parts, each a command of its own on a machine of its own: they share a folder, and wait for nobody.

Part 2 of 3 does every third shard and writes what it makes under names of its own. The part that finishes last does the
job once more as a whole: all of it is there, so that only what follows is left, as the tables. So whatever was killed,
changed or left out between, the result is that of one command. Start reading at `in_parts`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tubelet.errors import RecipeError, TubeletError
from tubelet.files import lock, write_atomically

T = TypeVar("T")
FINISHED = "finished"


@dataclass(frozen=True)
class Part:
    """Part `number` (from 1) of so many."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise RecipeError(f"there is no part {self}: parts are 1/{max(self.of, 1)} to {max(self.of, 1)}/{self.of}")

    @classmethod
    def parse(cls, text: str) -> "Part":
        if not (found := re.fullmatch(r"(\d+)/(\d+)", text)):
            raise RecipeError(f"--part {text} must say which of how many, as 2/3")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def file(self, what: str, ending: str = "") -> str:
        """What a file of this part is called."""
        return f"{what}-{self.number}-of-{self.of}{ending}"

    def share(self, shards: Sequence[T]) -> list[T]:
        return list(shards[self.number - 1 :: self.of])


class PartFinished(TubeletError):
    """A part is finished, and what it did says how; the result of the job is still to come where others are missing."""

    code = 0

    def __init__(self, part: Part, folder: Path, missing: Sequence[Part], did: str) -> None:
        super().__init__(f"part {part} is finished ({did}); not yet: {', '.join(map(str, missing)) or 'none'}")
        self.part, self.folder, self.missing = part, folder, tuple(missing)


class PartIsRunning(TubeletError):
    """Another command is at a part."""


def begin(folder: Path, part: Part) -> None:
    """From here on, this part is not finished."""
    (folder / part.file(FINISHED)).unlink(missing_ok=True)


def finish(folder: Path, part: Part) -> list[Part]:
    """Says that this part is finished. Returns those that are not: none of them to one alone, the last."""
    with lock(folder / ".parts.lock", PartIsRunning(f"another part is writing to {folder}"), patience=None):
        write_atomically(folder / part.file(FINISHED), b"")
        return missing(folder, part.of)


def missing(folder: Path, of: int | None = None) -> list[Part]:
    """The parts of so many that are not finished; None: of as many as those that are say."""
    finished = saying(folder, FINISHED)
    of = of or max((part.of for part in finished), default=0)
    return [part for number in range(1, of + 1) if (part := Part(number, of)) not in finished]


def clear(folder: Path) -> None:
    """The job is done as a whole."""
    for part in saying(folder, FINISHED):
        (folder / part.file(FINISHED)).unlink(missing_ok=True)


def saying(folder: Path, what: str, ending: str = "") -> list[Part]:
    """The parts that have a file of this name."""
    named = re.compile(rf"{what}-(\d+)-of-(\d+){re.escape(ending)}")
    found = (named.fullmatch(path.name) for path in sorted(folder.glob(f"{what}-*")))
    return [Part(int(match[1]), int(match[2])) for match in found if match]


def lock_of(folder: Path, part: Part | None) -> Path:
    """What one writer of the folder holds, or one of each part."""
    return folder / (".lock" if part is None else part.file(".part", ".lock"))
