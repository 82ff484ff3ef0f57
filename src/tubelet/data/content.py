"""What a file holds, as a digest: a renamed file keeps it, a changed one does not."""

import hashlib
from functools import lru_cache
from pathlib import Path


def content_digest(path: Path) -> bytes:
    stat = path.stat()
    return digest_of(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def digest_of(path: Path, size: int, modified: int) -> bytes:
    """Segments of one long file share one reading of it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
