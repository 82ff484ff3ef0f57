"""Writes frames, and sound beside them, as a video file."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float, UInt8

from tubelet.files import writing

CONTAINERS = {  # by the ending of a file, where FFmpeg calls the format otherwise
    "mkv": "matroska", "ts": "mpegts", "mts": "mpegts", "m2ts": "mpegts", "mpg": "mpeg", "wmv": "asf",
}  # fmt: skip


@dataclass(frozen=True)
class Audio:
    """Samples from -1 to 1, and how they are written: by default without loss, in 16 bits."""

    samples: Float[np.ndarray, "channels n"]
    rate: int
    codec: str = "flac"
    start: float = 0.0  # when the first one is heard, seconds

    @property
    def layout(self) -> str:
        return {1: "mono", 2: "stereo"}[len(self.samples)]

    def frame(self) -> av.AudioFrame:
        """All of it; the encoder cuts and converts it."""
        values = np.rint(self.samples.T.clip(-1, 1) * (2**15 - 1)).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format="s16", layout=self.layout)
        frame.sample_rate, frame.time_base = self.rate, Fraction(1, self.rate)
        frame.pts = round(self.start * self.rate)
        return frame


def write_video(
    path: str | Path,
    frames: UInt8[np.ndarray, "t h w 3"],
    fps: float | int,
    *,
    times: Sequence[float] | None = None,
    crf: int = 18,
    gop: int = 12,
    rotation: int = 0,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    sound: Audio | None = None,
) -> None:
    """Writes H.264 (or another codec of FFmpeg): at a fixed rate, or each frame at its own time.

    `rotation` only declares that a player must turn the frames by so many degrees counter-clockwise.
    """
    path = Path(path)
    height, width = frames.shape[1:3]
    unit = Fraction(1, 90000)
    kind = path.suffix[1:].lower()
    with writing(path) as part, av.open(str(part), "w", format=CONTAINERS.get(kind, kind)) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = width, height
        if codec == "libx264":
            stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
            stream.options = {"crf": str(crf), "g": str(gop), "threads": "1", **(options or {})}
        elif options:
            stream.options = dict(options)
        if times is not None:
            stream.codec_context.time_base = unit
        if rotation:
            stream.set_display_rotation(rotation)
        voice = None if sound is None else container.add_stream(sound.codec, rate=sound.rate, layout=sound.layout)
        for index, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[index] / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice is not None and sound is not None:
            container.mux(voice.encode(sound.frame()))
            container.mux(voice.encode(None))
