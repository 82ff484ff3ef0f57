"""The digest of a video's file as the videos table keeps it.

It stands there beside the size and the time of change that the file had then: while these are the same, no file need
be read.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.corpus.schema import Video
from tubelet.errors import VideoError
from tubelet.remote.address import is_remote
from tubelet.video.content import State, digest_of, known_state_of, state_of


def content_of(video: Video) -> bytes | None:
    """The digest of what a video's file holds now: from the table while its size and time of change are those that the
    table says, else read anew; None where it cannot be read."""
    return file_content(video, {})


def as_in_table(video: Video) -> State | None:
    """The state of a remote file without asking for it: as this process saw it last, else as the table says."""
    said = None if video.size is None or video.modified is None else (video.size, video.modified)
    return known_state_of(video.path) or said


def size_of(video: Video) -> int:
    """Bytes of its file now; of a remote one as is known without asking for it."""
    known = as_in_table(video) if is_remote(video.path) else None
    return (known or state_of(video.path))[0]


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


def content_key(content: bytes, video: Video, text: str) -> bytes:
    span = repr((round(video.start, 6), round(video.end, 6))) + (video.reading or "")
    return hashlib.blake2b(content + span.encode() + b"\0" + text.encode(), digest_size=16).digest()


def file_content(video: Video, known: Mapping[tuple[str, int, int], bytes]) -> bytes | None:
    """As `content_of`, but where the table is silent, `known` may say it: (id, size, time of change) -> digest."""
    try:
        state = state_of(video.path) if not is_remote(video.path) else as_in_table(video) or state_of(video.path)
        if video.content is not None and state == (video.size, video.modified):
            return bytes.fromhex(video.content)
        return known.get((video.id, *state)) or digest_of(video.path, *state)
    except (OSError, VideoError):
        return None
