"""What a video file holds, as one digest: a renamed or touched file keeps it, a changed one does not.

The digest of a file is of all its bytes; that of an image sequence (a folder of frames) of its frame files' digests, in
order.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

from tubelet.errors import VideoError
from tubelet.remote.address import Address
from tubelet.remote.ask import known_state
from tubelet.video.limits import regular_file
from tubelet.video.members import Member, open_bytes
from tubelet.video.sequences import frame_files, is_sequence

SIZE = 16  # bytes of a digest
PIECE = 1 << 20  # bytes read at a time

State = tuple[int, int]  # bytes, and the time of the last change in nanoseconds


def state_of(path: Path) -> State:
    """What tells without reading that a file may have changed. Of an image sequence: all bytes, the latest change; of a
    remote file: its size, and a number for its version."""
    stats = [file.stat() for file in frame_files(path)] if is_sequence(path) else [regular_file(path)]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def known_state_of(path: Path) -> State | None:
    """Of a remote file as this process last saw it, without asking its store; None where it did not."""
    member = Member.of(path)
    address = Address.of(path if member is None else member.container)
    seen = None if address is None else known_state(address)
    return None if seen is None else (seen.size if member is None else member.size, seen.number)


def state_or_none(path: Path) -> State | None:
    """None where there is no such file."""
    try:
        return state_of(path)
    except (OSError, VideoError):
        return None


def content_digest(path: Path) -> bytes:
    return digest_of(path, *state_of(path))


@lru_cache(maxsize=1 << 16)
def digest_of(path: Path, size: int, modified: int) -> bytes:
    """Segments of one long file share one reading of it."""
    if is_sequence(path):
        parts = b"".join(digest_of_file(file) for file in frame_files(path))
        return hashlib.blake2b(parts, digest_size=SIZE).digest()
    return digest_of_file(path)


def digest_of_file(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=SIZE)
    with open_bytes(path) as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.digest()
