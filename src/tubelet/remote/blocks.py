"""Blocks of remote files kept on this machine's disk, up to a limit; what was read longest ago goes first.

`TUBELET_CACHE` names the folder (default: `~/.cache/tubelet`) and `TUBELET_CACHE_LIMIT` the limit in GB (default: 10;
0 keeps nothing). A block belongs to one version of an object and carries a checksum. Whatever goes wrong here costs a
request and nothing else.
"""

import contextlib
import hashlib
import os
import zlib
from pathlib import Path

SIZE = 1 << 18  # bytes of a block
LIMIT = 10.0  # GB
SHARE = 100  # what is kept is counted again whenever a process has added this fraction of the limit
CHECK = 4  # bytes of the checksum at the end of a block

ADDED = [float("inf")]  # bytes since the last count; the first block is counted too


def home() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TUBELET_CACHE") or Path(base, "tubelet")).expanduser()


def private(folder: Path) -> Path:
    """A folder below home, made where it is not there; others cannot enter that."""
    home().parent.mkdir(parents=True, exist_ok=True)
    home().mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def limit() -> int:
    """In bytes."""
    with contextlib.suppress(ValueError):
        return int(float(os.environ.get("TUBELET_CACHE_LIMIT") or LIMIT) * 1e9)
    return 0


class Blocks:
    """Those of one object, or of a part of it."""

    def __init__(self, name: str) -> None:
        digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
        self.folder = home() / "blocks" / digest[:2] / digest

    @property
    def some(self) -> bool:
        """Whether any may be there."""
        return limit() > 0 and self.folder.is_dir()

    def path(self, tag: str, number: int) -> Path:
        return self.folder / f"{hashlib.blake2b(tag.encode(), digest_size=8).hexdigest()}-{number}"

    def get(self, tag: str, number: int) -> bytes | None:
        if limit() <= 0:
            return None
        path = self.path(tag, number)
        try:
            found = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        content, check = found[:-CHECK], found[-CHECK:]
        return content if zlib.crc32(content).to_bytes(CHECK, "big") == check else None

    def put(self, tag: str, number: int, content: bytes) -> None:
        if (most := limit()) <= 0:
            return
        path = self.path(tag, number)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            private(self.folder)
            part.write_bytes(content + zlib.crc32(content).to_bytes(CHECK, "big"))
            part.replace(path)
        except OSError:  # a full disk, or one that cannot be written
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            return
        ADDED[0] += len(content)
        if ADDED[0] >= most / SHARE:
            ADDED[0] = 0
            make_room(home() / "blocks", most)


def make_room(folder: Path, most: int) -> None:
    """Removes what was read longest ago where more is kept than the limit, with a tenth to spare."""
    found: list[tuple[float, int, Path]] = []
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                path = Path(here, name)
                about = path.stat()
                found.append((about.st_mtime, about.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= most:
        return
    for _, size, path in sorted(found):
        with contextlib.suppress(OSError):
            path.unlink()
            if not os.listdir(path.parent):
                path.parent.rmdir()
        total -= size
        if total <= 0.9 * most:
            return
