"""What a video file holds, as one digest: a renamed or touched file keeps it, a changed one does not.

The digest of a file is of all its bytes; that of an image sequence (a folder of frames) of its frame files' digests, in
order. It stands in the videos table beside the size and the time of change that the file had then: while these are the
same, no file need be read.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tubelet.data.limits import regular_file
from tubelet.data.sequences import frame_files, is_sequence
from tubelet.data.table import Video
from tubelet.errors import VideoError

SIZE = 16  # bytes of a digest

State = tuple[int, int]  # bytes, and the time of the last change in nanoseconds


def content_of(video: Video) -> bytes | None:
    """The digest of what a video's file holds now: from the table while its size and time of change are those that the
    table says, else read anew; None where it cannot be read."""
    return file_content(video, {})


def content_columns(path: Path) -> dict[str, Any]:
    """What the videos table says of a file: all of it is read."""
    size, modified = state_of(path)
    return {"content": digest_of(path, size, modified).hex(), "size": size, "modified": modified}


def content_now(video: Video) -> dict[str, Any]:
    """The same columns for a row of a series that is made of this video now, the digest as bytes.

    `VideoError` or `OSError` where the file cannot be read.
    """
    size, modified = state_of(video.path)
    return {"content": content_of(video) or digest_of(video.path, size, modified), "size": size, "modified": modified}


def state_of(path: Path) -> State:
    """What tells without reading that a file may have changed. Of an image sequence: all bytes, the latest change."""
    stats = [file.stat() for file in frame_files(path)] if is_sequence(path) else [regular_file(path)]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def state_or_none(path: Path) -> State | None:
    """None where there is no such file."""
    try:
        return state_of(path)
    except (OSError, VideoError):
        return None


def content_digest(path: Path) -> bytes:
    return digest_of(path, *state_of(path))


@lru_cache(maxsize=1024)
def digest_of(path: Path, size: int, modified: int) -> bytes:
    """Segments of one long file share one reading of it."""
    if is_sequence(path):
        parts = b"".join(digest_of_file(file) for file in frame_files(path))
        return hashlib.blake2b(parts, digest_size=SIZE).digest()
    return digest_of_file(path)


def digest_of_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=SIZE)).digest()


def content_key(content: bytes, video: Video, text: str) -> bytes:
    span = repr((round(video.start, 6), round(video.end, 6))) + (video.reading or "")
    return hashlib.blake2b(content + span.encode() + b"\0" + text.encode(), digest_size=16).digest()


def file_content(video: Video, known: Mapping[tuple[str, int, int], bytes]) -> bytes | None:
    """As `content_of`, but where the table is silent, `known` may say it: (id, size, time of change) -> digest."""
    try:
        state = state_of(video.path)
        if video.content is not None and state == (video.size, video.modified):
            return bytes.fromhex(video.content)
        return known.get((video.id, *state)) or digest_of(video.path, *state)
    except (OSError, VideoError):
        return None
