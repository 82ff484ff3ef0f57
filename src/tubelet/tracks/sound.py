"""sound: a log-mel spectrogram of every video's sound. Start reading at `SoundTrack`.

Of one channel at 16 kHz: windows of 25 ms (Hann) every 10 ms, power in triangular bands that are equally wide in mel
(2595 log10(1 + f/700)). Values are decibels as the encoder gets them: 1 is a sine of full scale, -1 is 80 dB below it
or less. FFmpeg decodes, in worker processes; the spectrogram is ours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import chz
import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError, VideoError
from tubelet.jobs.runner import Running, Work
from tubelet.jobs.tasks import Task
from tubelet.progress import Progress, silent
from tubelet.stores.fill import Filled, Map, fill_videos
from tubelet.stores.tracks import TrackWriter
from tubelet.tracks.base import TrackSource, without
from tubelet.video.sound import read_sound

NAME = "sound"
SECONDS = 60  # of a video in one piece: whole seconds, so that samples of all pieces lie on one grid
MARGIN = 1  # seconds read beyond a piece on either side
OVERSAMPLED = 4  # points of the spectrum over those of the next power of two: no band is narrower than their distance
RANGE = 80.0  # decibels from the lowest value to the highest


@chz.chz
class SoundTrack(TrackSource):
    """The sound of the files, as a log-mel spectrogram."""

    word: ClassVar[str] = NAME

    bands: int = chz.field(default=64, doc="bands of the spectrogram, equally wide in mel")
    rate: int = chz.field(default=16000, doc="samples a second that the sound is brought to")
    hop_ms: float = chz.field(default=10.0, doc="milliseconds from column to column")
    window_ms: float = chz.field(default=25.0, doc="milliseconds of sound in a column")
    low: float = chz.field(default=0.0, doc="lowest frequency, Hz; the highest is half of `rate`")

    @chz.validate
    def _sensible(self) -> None:
        if not 0 < self.hop_ms <= self.window_ms <= 1000 * MARGIN or self.rate < 1000:
            raise RecipeError(
                f"hop_ms={self.hop_ms:g}, window_ms={self.window_ms:g} and rate={self.rate} must be 0 < hop_ms <= "
                f"window_ms <= {1000 * MARGIN} and 1000 or more samples a second"
            )
        if self.bands < 1 or not 0 <= self.low < self.rate / 2:
            raise RecipeError(f"bands={self.bands} must be 1 or more, and low={self.low:g} below half of rate")

    @property
    def hop(self) -> int:
        """Samples from column to column."""
        return max(round(self.rate * self.hop_ms / 1000), 1)

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        method = {"log_mel": 1, **chz.asdict(self)}
        work = Work(partial(look, rate=self.rate), partial(columns, how=self), partial(whole, bands=self.bands))
        with TrackWriter(corpus, NAME, (self.bands, 1, 1), method, running) as track:
            filled = fill_videos(corpus, {NAME: track}, pieces, work, running, progress)
        words = f"log-mel, {self.bands} bands, {self.rate / self.hop:g} columns a second of {self.rate} Hz"
        return replace(filled, method=words, notes=without(corpus, NAME))


@dataclass(frozen=True)
class Piece:
    """A stretch of a video."""

    video: Video
    start: float
    end: float


@dataclass(frozen=True)
class Heard:
    """The samples of a piece and of a margin on both sides; None: the file has no sound."""

    piece: Piece
    samples: Float32[np.ndarray, "n"] | None
    decoded: bool = False


@dataclass(frozen=True)
class Columns:
    """The columns of a piece."""

    values: Float32[np.ndarray, "t bands"] | None
    times: Float64[np.ndarray, "t"]
    decoded: bool


def pieces(video: Video) -> list[Piece]:
    length = video.end - video.start if video.end > video.start else video.frames / max(video.fps, 1.0)
    end = video.start + length
    count = max(math.ceil((end - video.start) / SECONDS - 1e-9), 1)
    starts = [video.start + SECONDS * number for number in range(count)]
    return [Piece(video, start, min(start + SECONDS, end)) for start in starts]


def look(piece: Piece, rate: int) -> Heard:
    """In a worker: decoded, and brought to the rate."""
    from scipy.signal import resample_poly

    wave = read_sound(piece.video.path, piece.start - MARGIN, piece.end + MARGIN)
    if wave is None:
        return Heard(piece, None)
    count = round((piece.end - piece.start + 2 * MARGIN) * rate)
    if not wave.heard:
        return Heard(piece, np.zeros(count, np.float32))
    samples = wave.samples
    if wave.rate != rate:
        common = math.gcd(wave.rate, rate)
        samples = resample_poly(samples, rate // common, wave.rate // common).astype(np.float32)
    fitting = np.zeros(count, np.float32)
    fitting[: len(samples)] = samples[:count]
    return Heard(piece, fitting, True)


def columns(task: Task, heard: Heard, how: SoundTrack) -> Columns:
    piece, origin = heard.piece, heard.piece.video.start
    if heard.samples is None:
        return Columns(None, np.empty(0), False)
    step = how.hop / how.rate
    first, last = (math.ceil((moment - origin) / step - 1e-6) for moment in (piece.start, piece.end))
    times = origin + step * np.arange(first, max(last, first))
    centres = np.rint((times - piece.start + MARGIN) * how.rate).astype(np.int64)
    values = log_mel(torch.from_numpy(heard.samples), torch.from_numpy(centres), how)
    return Columns(values.numpy(), times, heard.decoded)


def whole(task: Task, parts: Sequence[Columns], bands: int) -> Mapping[tuple[str, str], Map]:
    """The track of a video: of no layers where its file has no sound."""
    there = [part for part in parts if part.values is not None]
    if not there:
        return {(NAME, ""): (np.empty((0, bands, 1, 1), np.float32), np.empty(0))}
    if not any(part.decoded for part in there):
        raise VideoError("its sound cannot be decoded")
    values = np.concatenate([part.values for part in there if part.values is not None])
    return {(NAME, ""): (values[:, :, None, None], np.concatenate([part.times for part in there]))}


@torch.no_grad()
def log_mel(samples: Float[Tensor, "n"], centres: Tensor, how: SoundTrack) -> Float[Tensor, "t bands"]:
    """The columns whose windows lie about these samples."""
    window = round(how.rate * how.window_ms / 1000)
    points = OVERSAMPLED * 2 ** math.ceil(math.log2(window))
    hann = torch.hann_window(window, dtype=torch.float32)
    padded = torch.nn.functional.pad(samples, (window, window))
    offsets = torch.arange(window) - window // 2 + window
    frames = padded[centres[:, None] + offsets] * hann
    power = torch.fft.rfft(frames, points).abs().square() * (4 / (points * hann.square().sum()))
    bands = power @ mel_filters(how.bands, points, how.rate, how.low).T
    decibels = 10 * bands.clamp(min=10 ** (-RANGE / 10)).log10()
    return 1 + decibels * (2 / RANGE)


def mel_filters(bands: int, points: int, rate: int, low: float) -> Float[Tensor, "bands frequencies"]:
    """Triangles of height 1, each from the middle of the band before to that of the band after."""
    edges = to_hertz(torch.linspace(to_mel(low), to_mel(rate / 2), bands + 2, dtype=torch.float64))
    frequencies = torch.linspace(0, rate / 2, points // 2 + 1, dtype=torch.float64)
    below, middle, above = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - below) / (middle - below), (above - frequencies) / (above - middle)
    return torch.minimum(rising, falling).clamp(min=0).float()


def to_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def to_hertz(mel: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    return 700 * (torch.pow(10.0, mel / 2595) - 1)
