"""When frames are shown whose timestamps repeat or run backwards: FFmpeg gives them in the order of showing, always.

An AVI's frames name the packets in which they came, a few places from where they are shown; these are put in order. Two
recordings in one file (transport streams joined, a clock that was set back) begin anew somewhere; there the second
follows the first.
"""

import numpy as np
from jaxtyping import Int64

REORDERED = 16  # frames: no codec lets one wait for more
TICK = 1e-5  # seconds between two frames of one timestamp


def in_order(stamps: Int64[np.ndarray, "t"], unit: float) -> Int64[np.ndarray, "t"]:
    """Ascending timestamps for frames in the order of showing; `unit` is that of the stream, in seconds."""
    steps = np.diff(stamps)
    if (steps > 0).all():
        return stamps
    usual = int(np.median(steps[steps > 0])) if (steps > 0).any() else max(round(0.04 / unit), 1)
    tick = max(round(TICK / unit), 1)
    parts: list[Int64[np.ndarray, t]] = []
    for part in np.split(stamps, 1 + np.flatnonzero(begins_anew(stamps, usual))):
        ordered = np.sort(part)
        if parts and ordered[0] <= parts[-1][-1]:
            ordered = ordered + (parts[-1][-1] + usual - ordered[0])
        # each at its own time, or a tick after the one before
        indices = tick * np.arange(len(ordered))
        parts.append(np.maximum.accumulate(ordered - indices) + indices)
    return np.concatenate(parts)


def begins_anew(stamps: Int64[np.ndarray, "t"], usual: int) -> np.ndarray:
    """Of each frame but the first, whether it lies further before the one before it than any order of decoding brings
    it."""
    return np.diff(stamps) < -REORDERED * usual
