"""What a user's file may take, and the words for what became of it: one set for everything that opens one.

Jobs read in processes of their own, which the kernel ends (`processes`). Training, evaluation and pictures read in
their own process, through `within`: in a thread that is left behind where a read does not come back.
"""

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tubelet.errors import RemoteError, VideoError
from tubelet.remote.address import Address, is_remote
from tubelet.remote.ask import state
from tubelet.video.members import Member

SECONDS = 300.0  # that one file, or one piece of a long one, may take
MEMORY = 4 << 30  # bytes that it may take
GRACE = 0.5  # seconds for a reader to see for itself that its time is over
CRASHED, TOO_SLOW, TOO_LARGE = "crashed", "too slow", "too large"
NO_FILE = "not a file"

T = TypeVar("T")


class Undecodable(VideoError):
    """A video of which no frame can be had: a status of one or two words for the table, and the reason."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Limits:
    """What the reading of one file may take."""

    workers: int | None = None  # processes; None: one a core
    seconds: float = SECONDS
    memory: int = MEMORY  # bytes


CHOSEN: ContextVar[Limits | None] = ContextVar("limits", default=None)
DEADLINE: ContextVar["Deadline | None"] = ContextVar("deadline", default=None)


@dataclass
class Deadline:
    """When the reading of this thread is over."""

    expires: float
    seconds: float


def limits(otherwise: Limits | None = None) -> Limits:
    """Those that the user chose for this command."""
    return CHOSEN.get() or otherwise or Limits()


@contextmanager
def limited(chosen: Limits | None) -> Iterator[None]:
    """Everything that is read in here is read within these limits."""
    token = CHOSEN.set(chosen)
    try:
        yield
    finally:
        CHOSEN.reset(token)


def within(chosen: Limits, read: Callable[[], T]) -> T:
    """What `read` gives, or `Undecodable`. It must not call torch, whose threads belong to the thread that computes.

    A read that the kernel never gives back (a network drive that is gone) keeps its thread for ever, and this process
    goes on without it.
    """
    deadline = Deadline(time.monotonic() + chosen.seconds, chosen.seconds)
    made: list[T] = []
    wrong: list[BaseException] = []

    def work() -> None:
        CHOSEN.set(chosen)
        DEADLINE.set(deadline)
        try:
            made.append(read())
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=copy_context().run, args=(work,), name="reading", daemon=True)
    thread.start()
    try:
        thread.join(chosen.seconds + GRACE)
    finally:
        deadline.expires = 0.0  # it ends at its next packet, if it is still there
    if wrong:
        raise wrong.pop()
    if not made:
        raise too_slow(chosen.seconds)
    return made[0]


def check_time() -> None:
    """Readers ask between packets; `Undecodable` where their time is over."""
    deadline = DEADLINE.get()
    if deadline is not None and time.monotonic() > deadline.expires:
        raise too_slow(deadline.seconds)


def check_size(bytes_needed: int) -> None:
    """Readers ask before they make room for frames."""
    if bytes_needed > (most := limits().memory):
        raise Undecodable(
            TOO_LARGE, f"its frames take {bytes_needed / 2**30:.3g} GiB of memory, more than {most / 2**30:.3g} GiB"
        )


def too_slow(seconds: float) -> Undecodable:
    return Undecodable(TOO_SLOW, f"took longer than {seconds:g} s")


@dataclass(frozen=True)
class FileState:
    """What a folder says of a file."""

    st_size: int
    st_mtime_ns: int


def regular_file(path: str | Path) -> FileState:
    """What a file's folder says of it, or of the file that it is a member of; `Undecodable` where it is none:
    opening a pipe waits for a writer for ever."""
    member = Member.of(path)
    if is_remote(path):
        return remote_state(Path(path) if member is None else member.container, member)
    try:
        found = os.stat(path if member is None else member.container)
    except FileNotFoundError:
        raise Undecodable("missing", "no such file") from None
    except (OSError, ValueError) as error:
        raise Undecodable("unreadable", f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(found.st_mode):
        raise Undecodable(NO_FILE, f"{file_kind(found.st_mode)}, not a file")
    check_end(member, found.st_size)
    return FileState(found.st_size if member is None else member.size, found.st_mtime_ns)


def remote_state(path: Path, member: Member | None) -> FileState:
    """The version stands where the time of change does."""
    address = Address.of(path)
    assert address is not None
    try:
        found = state(address)
    except RemoteError as error:
        if error.status != "missing":
            raise
        raise Undecodable(error.status, "no such file") from None
    check_end(member, found.size)
    return FileState(found.size if member is None else member.size, found.number)


def check_end(member: Member | None, size: int) -> None:
    if member is not None and member.offset + member.size > size:
        raise Undecodable("unreadable", f"{member.container.name} ends before it")


def file_kind(mode: int) -> str:
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a named pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((name for asks, name in kinds.items() if asks(mode)), "something else")
