"""How files are written and kept: whole or not at all, under one rule for temporary names, with one lock.

What is being written stands beside its place as `.NAME.part`, held by a lock that the kernel drops when the writer
ends, however it ends. So the next writer of the same name knows a dead writer's leftover, and removes it; a living
writer's it leaves alone, and takes `.NAME.1.part`. Start reading at `writing`; what the files hold is verified by
`tubelet.checksums`.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from unicodedata import category, normalize

from tubelet.errors import TubeletError

PATIENCE = 10.0  # seconds that a lock is waited for
LONGEST = 200  # bytes of a name; 255 is what file systems take, and endings and temporary names need some of them
LEFT_OUT = re.compile(r"""[/\\:*?"<>|]|[^\S ]""")  # separators here or on Windows, and white space but for blanks
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³]) *(\.|$)", re.IGNORECASE)  # of Windows
CHANGED = re.compile(r"~[0-9a-f]{12}$")
BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # what a lock says that another holds


def write_atomically(path: Path, content: bytes) -> None:
    """The whole content or the old file, whatever happens."""
    with writing(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def writing(path: Path, folder: bool = False) -> Iterator[Path]:
    """A temporary place to write a file (or a folder) at, that becomes `path` when the block ends well.

    The parent folder is made. A file that stands at `path` is replaced in one move; a folder there must be empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, held = temporary(path, folder)
    try:
        yield part
        for written in (*part.rglob("*"), part) if folder else (part,):
            sync(written)
        commit(part, path)
    except BaseException:
        if held.here:
            remove(part)
        raise
    finally:
        held.release()


def commit(part: Path, path: Path) -> None:
    """The one moment in which what was written comes to stand at its place, also after a power cut."""
    os.replace(part, path)
    with contextlib.suppress(OSError):  # a file system that cannot sync a folder
        sync(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Removes what writers that are dead left in this folder, their locks too; what a living one holds stays."""
    if os.access(folder, os.W_OK):
        for left in (*folder.glob(".*.part"), *folder.glob(".*lock")):
            cleared(left)


@contextlib.contextmanager
def lock(path: Path, busy: TubeletError, patience: float | None = PATIENCE) -> Iterator[None]:
    """One process at a time, by a file that is there while the lock is held. `busy` is raised after so many seconds of
    waiting for another; None waits for as long as that one lives.

    The lock ends with this process, however it ends; processes that it started do not keep it.
    """
    deadline = None if patience is None else time.monotonic() + patience
    while (held := Held.take(path, os.O_CREAT | os.O_RDWR)) is None:
        if deadline is not None and time.monotonic() > deadline:
            raise busy
        time.sleep(0.05)
    if not held.locked:
        held.release()
        raise TubeletError(f"the file system of {path.parent} has no locks, which two commands need; use another one")
    try:
        yield
    finally:
        if held.here:
            path.unlink(missing_ok=True)  # while it is held: who waits for it sees that it is gone, and makes it anew
        held.release()


def file_name(text: str) -> str:
    """A text as the name of a file or folder, to which an ending may be added: one that cannot leave its folder.

    What is a good name already stays as it is. Of any other text as much stays as can, with a digest of the whole
    behind it, so that different texts have different names.
    """
    name = LEFT_OUT.sub("-", "".join("-" if category(sign)[0] == "C" else sign for sign in normalize("NFC", text)))
    name = name.lstrip(" .-").rstrip(" .")
    if name == text and 0 < len(name.encode()) <= LONGEST and not DEVICE.match(name) and not CHANGED.search(name):
        return name
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    name = f"{'_' * bool(DEVICE.match(name))}{name}".encode()[: LONGEST - len(digest) - 1].decode(errors="ignore")
    return f"{name}~{digest}"


def within(folder: Path, *names: str) -> Path:
    """The path of these names below the folder, which holds files of a stranger: refused where it leads out of it."""
    path = folder.joinpath(*names)
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):  # of links that go in a circle, too
        raise TubeletError(f"{path} leads out of {folder} to {path.resolve()}; put the file itself in its place")
    return path


def refuse_links_out(folder: Path) -> None:
    """Refuses a folder of a stranger in which a link leads out of it: what is read through one is not the stranger's to
    show, and what is written through one is not his to replace."""
    for index, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(index, name)
            if path.is_symlink():
                within(folder, str(path.relative_to(folder)))


def temporary(path: Path, folder: bool) -> tuple[Path, "Held"]:
    """A new file or folder beside `path`, held by this process."""
    for number in count():
        part = path.with_name(f".{path.name}{f'.{number}' if number else ''}.part")
        if not cleared(part):
            continue
        try:
            if folder:
                part.mkdir()
            held = Held.take(part, os.O_RDONLY if folder else os.O_CREAT | os.O_EXCL | os.O_RDWR)
        except FileExistsError:  # another writer was quicker
            continue
        if held is not None:
            for more in count(number + 1):  # of writers that were killed together
                other = path.with_name(f".{path.name}.{more}.part")
                if not os.path.lexists(other) or not cleared(other):
                    return part, held
    raise AssertionError("numbers do not end")


def cleared(part: Path) -> bool:
    """Whether nothing stands at this temporary name, or nothing does any more; False where its writer lives."""
    if part.is_symlink():  # no writer of ours makes one
        part.unlink(missing_ok=True)
    try:
        held = Held.take(part, (os.O_RDONLY if part.is_dir() else os.O_RDWR) | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    except PermissionError:  # another user's
        return False
    if held is None:
        return not os.path.lexists(part)
    if held.locked:
        remove(part)
    held.release()
    return held.locked


def remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """What was written is on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@dataclass(eq=False)
class Held:
    """A file or folder that this process holds open and locked. A file system without locks holds it open alone."""

    descriptor: int
    locked: bool

    @classmethod
    def take(cls, path: Path, flags: int) -> "Held | None":
        """None where another process holds it, or it is gone by the time that it is ours."""
        release_in_forks()
        held = cls(os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), locked=False)
        HELD.append(held)
        try:
            fcntl.flock(held.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.locked = True
        except OSError as error:
            if error.errno in BUSY:
                held.release()
                return None
        try:
            there = os.path.samestat(os.fstat(held.descriptor), os.lstat(path))
        except FileNotFoundError:
            there = False
        if not there:
            held.release()
            return None
        return held

    @property
    def here(self) -> bool:
        """Whether this process holds it still; one that was forked does not."""
        return self in HELD

    def release(self) -> None:
        if self.here:
            HELD.remove(self)
            os.close(self.descriptor)


HELD: list[Held] = []


@cache
def release_in_forks() -> None:
    """A fork closes its copies, so that no worker keeps a lock that its parent has lost."""

    def release() -> None:
        while HELD:
            HELD[-1].release()

    os.register_at_fork(after_in_child=release)
