"""The sound of a file as one channel, every sample where its timestamp says. Start reading at `read_sound`.

Seconds are those of the video: 0 is the declared start of its frames. So sound that begins later, or runs faster or
slower than its clock says, stays beside what is seen; where there is none, there is silence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from jaxtyping import Float32

from tubelet.errors import VideoError
from tubelet.video.decoding import best_stream, open_container
from tubelet.video.limits import check_size, check_time

EARLIER = (1.0, 10.0)  # seconds before the wanted ones at which decoding begins; tried in order, then the beginning
TOLERANCE = 0.01  # seconds by which timestamps may differ from the count of samples: containers round them
WHOLE = {"u8": (128.0, 128.0), "s16": (0.0, 2.0**15), "s32": (0.0, 2.0**31), "s64": (0.0, 2.0**63)}
"""Of formats of whole numbers: the value of silence, and the number that is 1."""


@dataclass(frozen=True)
class Wave:
    """Samples from -1 to 1, one channel, from a moment on."""

    samples: Float32[np.ndarray, "n"]
    rate: int
    heard: bool  # something was decoded: silence of the file itself, or sound


def read_sound(path: Path, start: float, end: float) -> Wave | None:
    """The sound from `start` to `end`, seconds; None where the file has no sound at all."""
    for earlier in (*(EARLIER if start > 0 else ()), None):
        with open_container(path) as container:
            stream = container.streams.best("audio")
            if stream is None or stream.codec_context is None:
                return None
            video = best_stream(container)
            origin = 0.0 if video is None else float((video.start_time or 0) * video.time_base)
            if earlier is not None:
                try:
                    container.seek(int((start - earlier + origin) / stream.time_base), stream=stream)
                except av.error.FFmpegError:
                    continue
            wave = placed(decoded(container, stream), origin, start, end, earlier is not None)
            if wave is not None:
                return wave
    return Wave(np.zeros(0, np.float32), 1, False)


def decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames in order. A packet that cannot be decoded is left out, and silence stands in its place."""
    try:
        for packet in container.demux(stream):
            check_time()
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                continue
    except av.error.FFmpegError:
        return  # a file cut short


def placed(frames: Iterator[Any], origin: float, start: float, end: float, sought: bool) -> Wave | None:
    """The samples of these frames in their places; None where there are none, or a seek went too far."""
    samples: Float32[np.ndarray, n] | None = None
    rate, next_index = 0, 0
    for frame in frames:
        if samples is None:
            rate = frame.sample_rate
            count = round((end - start) * rate)
            check_size(4 * count)
            samples = np.zeros(count, np.float32)
            first = 0.0 if frame.time is None else frame.time - origin
            if sought and (frame.time is None or first > start):
                return None
            next_index = round((first - start) * rate)
        if frame.sample_rate != rate:
            raise VideoError(f"its sound changes from {rate} to {frame.sample_rate} samples a second")
        if frame.time is not None:
            index = round((frame.time - origin - start) * rate)
            if abs(index - next_index) > TOLERANCE * rate:
                next_index = index
        if next_index >= len(samples):
            break
        one = mono(frame)
        begin, stop = max(next_index, 0), min(next_index + len(one), len(samples))
        if begin < stop:
            samples[begin:stop] = one[begin - next_index : stop - next_index]
        next_index += len(one)
    return None if samples is None else Wave(samples, rate, True)


def mono(frame: Any) -> Float32[np.ndarray, "n"]:
    """The mean of its channels, from -1 to 1."""
    values, channels = frame.to_ndarray(), frame.layout.nb_channels
    if not frame.format.is_planar:
        values = values.reshape(-1, channels).T
    zero, one = WHOLE.get(frame.format.name.removesuffix("p"), (0.0, 1.0))
    mean = (values.mean(0, dtype=np.float64) - zero) / one
    return np.nan_to_num(mean, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
