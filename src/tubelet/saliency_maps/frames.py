"""The frames that maps are made of: every one of a video, or a fixed number a second, in pieces that fit in memory.

For worker processes: it imports nothing heavy.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from tubelet.corpus.schema import Video
from tubelet.errors import VideoError
from tubelet.video.reader import SAME, open_reader

PIECE_BYTES = 64 << 20  # of decoded frames in one piece


@dataclass(frozen=True)
class Piece:
    """A stretch of a video; `rate` frames per second counted from the video's start, or all of them."""

    path: Path
    origin: float
    start: float
    end: float
    rate: float | None
    next: float  # to there the frame that follows the stretch is found; its end where none does
    whole: bool = True  # the video is this one piece
    reading: str | None = None  # of its row


Frames = tuple[UInt8[np.ndarray, "t h w 3"], Float64[np.ndarray, "t"]]


def pieces(video: Video, rate: float | None, seconds: float | None = None) -> list[Piece]:
    """The whole video in segments of at most 64 MiB of frames, or of `seconds`."""
    end = video.end if video.end > video.start else math.inf
    per_second = rate or video.fps or 30.0
    at_once = max(PIECE_BYTES // max(video.width * video.height * 3, 1), 1)
    seconds = seconds or at_once / per_second
    if not math.isfinite(end) or end - video.start <= seconds:
        return [Piece(video.path, video.start, video.start, end, rate, end, reading=video.reading)]
    count = math.ceil((end - video.start) / seconds)
    edges = [*(video.start + number * seconds for number in range(count)), end]
    beyond = max(2 / per_second, 0.2)
    return [
        Piece(video.path, video.start, a, b, rate, min(b + beyond, end), whole=False, reading=video.reading)
        for a, b in pairwise(edges)
    ]


def decode_piece(piece: Piece) -> Frames:
    """The frames of a piece, each once, with their timestamps. A piece may hold none."""
    with open_reader(piece.path, piece.start, piece.end, reading=piece.reading) as reader:
        times = reader.times
        if piece.rate is not None and times.size:
            first = math.ceil((piece.start - piece.origin) * piece.rate - 1e-6)
            last = math.floor((min(piece.end, float(times[-1]) + 1 / piece.rate) - piece.origin) * piece.rate + 1e-6)
            asked = piece.origin + np.arange(first, last + 1) / piece.rate
            asked = asked[asked < piece.end - SAME]
            shown = np.searchsorted(times, asked + SAME, side="right") - 1
            times = times[np.unique(np.maximum(shown, 0))]
        if not times.size:
            return np.empty((0, 1, 1, 3), np.uint8), times
        return reader.frames(times), times


def decode_whole(video: Video, rate: float | None) -> Frames:
    """A whole video in this process."""
    decoded = [found for piece in pieces(video, rate) if (found := decode_piece(piece))[1].size]
    if not decoded:
        raise VideoError(f"no frame of {video.id} can be decoded")
    return np.concatenate([frames for frames, _ in decoded]), np.concatenate([times for _, times in decoded])
