"""What a file holds, as a digest: a renamed file keeps it, a changed one does not."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from tubelet.data.limits import regular_file
from tubelet.data.table import Video
from tubelet.errors import VideoError


def content_digest(path: Path) -> bytes:
    stat = regular_file(path)
    return digest_of(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def digest_of(path: Path, size: int, modified: int) -> bytes:
    """Segments of one long file share one reading of it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()


def content_key(content: bytes, video: Video, text: str) -> bytes:
    span = repr((round(video.start, 6), round(video.end, 6)))
    return hashlib.blake2b(content + span.encode() + b"\0" + text.encode(), digest_size=16).digest()


def file_content(video: Video, known: Mapping[tuple[str, int, int], bytes]) -> bytes | None:
    """The digest of a video's bytes: from the shards while size and time of change agree, else read anew."""
    try:
        stat = regular_file(video.path)
        return known.get((video.id, stat.st_size, stat.st_mtime_ns)) or content_digest(video.path)
    except (OSError, VideoError):
        return None
