"""sensors: spectrograms of body-worn sensors, from a table a video. Start reading at `SensorTrack`.

A table (CSV, Parquet, or npz of equally long arrays) is named after its video and has a column `time`, in seconds of
the video, one `device` (left out where there is one), and one for each axis. Each device is brought to one rate by
linear interpolation; before its first and after its last sample it says nothing. Windows (Hann), amplitudes by
frequency from 0 (its mean, so gravity) up; values are log10 of amplitudes, no lower than `floor`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import chz
import numpy as np
from jaxtyping import Float64

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError, VideoError
from tubelet.jobs.runner import Running, Work
from tubelet.jobs.tasks import Task
from tubelet.progress import Progress, silent
from tubelet.stores.fill import Filled, Map, fill_videos
from tubelet.stores.tracks import Tracks, TrackWriter
from tubelet.tracks.base import TrackSource, named, without
from tubelet.tracks.files import digest_of, files_of

NAME = "sensors"
ENDINGS = (".csv", ".parquet", ".npz")
NOT_AXES = ("time", "device")


@chz.chz
class SensorTrack(TrackSource):
    """Spectrograms of sensors, from tables of times, devices and axes."""

    word: ClassVar[str] = NAME

    files: tuple[str, ...] = chz.field(default=(), doc="tables named after the videos, or folders of them, by commas")
    rate: float = chz.field(default=50.0, doc="samples a second that every device is brought to")
    hop_ms: float = chz.field(default=40.0, doc="milliseconds from column to column")
    window_ms: float = chz.field(default=640.0, doc="milliseconds of samples in a column")
    floor: float = chz.field(default=0.01, doc="amplitude that counts as none")

    @chz.validate
    def _sensible(self) -> None:
        if not (0 < self.hop_ms <= self.window_ms and self.rate > 0 and self.window >= 2):
            raise RecipeError(
                f"hop_ms={self.hop_ms:g}, window_ms={self.window_ms:g} and rate={self.rate:g} must be 0 < hop_ms <= "
                "window_ms, with two samples or more in a window"
            )
        if not self.floor > 0:
            raise RecipeError(f"floor={self.floor:g} must be positive")

    @property
    def window(self) -> int:
        """Samples of a column."""
        return round(self.rate * self.window_ms / 1000)

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        files = files_of(corpus, self.files, ENDINGS, NAME)
        devices, axes = layout_of(next(iter(files.values())))
        method = {"spectrogram": 1, **{name: value for name, value in chz.asdict(self).items() if name != "files"}}
        method |= {"devices": list(devices), "axes": list(axes), "files": digest_of(files)}
        size = (self.window // 2, len(devices), len(axes))

        def asked(video: Video) -> list[Asked]:
            return [Asked(video, files.get(video.id))]

        work = Work(partial(look, how=self, devices=devices, axes=axes, size=size), whole=only)
        with TrackWriter(corpus, NAME, size, method, running) as track:
            filled = fill_videos(corpus, {NAME: track}, asked, work, running, progress)
        words = f"{size[0]} frequencies of {', '.join(axes)}, devices {', '.join(devices)}"
        notes = (*without(corpus, NAME), *dead(corpus, devices, math.log10(self.floor)))
        return replace(filled, method=words, notes=notes)


@dataclass(frozen=True)
class Asked:
    """A video and its table, if it has one."""

    video: Video
    path: Path | None


def look(
    asked: Asked, how: SensorTrack, devices: Sequence[str], axes: Sequence[str], size: tuple[int, int, int]
) -> Map:
    """In a worker: the spectrograms of a video; none where it has no table."""
    if asked.path is None:
        return np.empty((0, *size), np.float32), np.empty(0)
    samples = read_samples(asked.path)
    video = asked.video
    end = video.end if video.end > video.start else video.start + video.frames / max(video.fps, 1.0)
    check(asked.path, samples, devices, axes, video.start, end)
    hop = how.hop_ms / 1000
    times = video.start + hop * np.arange(math.ceil((end - video.start) / hop - 1e-9))
    grid = (np.arange(how.window) - how.window // 2) / how.rate  # about a column's time
    asked_times = times[:, None] + grid
    spectra = [
        np.stack([amplitudes(resampled(samples, device, axis, asked_times)) for axis in axes], -1) for device in devices
    ]
    values = np.log10(np.maximum(np.stack(spectra, 2), how.floor))
    return values.astype(np.float32), times


def only(task: Task, found: list[Map]) -> Mapping[tuple[str, str], Map]:
    return {(NAME, ""): found[0]}


def amplitudes(windows: Float64[np.ndarray, "t window"]) -> Float64[np.ndarray, "t frequencies"]:
    """By frequency from 0 up, the highest left out: of a sine its amplitude, of what is constant its value."""
    size = windows.shape[1]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    spectrum = 2 * np.abs(np.fft.rfft(windows * hann)) / hann.sum()
    spectrum[:, 0] /= 2
    return spectrum[:, : size // 2]


Samples = Mapping[str, Mapping[str, Float64[np.ndarray, "n"]]]
"""By device: its times and what it says along each axis, in order of time."""


def resampled(
    samples: Samples, device: str, axis: str, times: Float64[np.ndarray, "t w"]
) -> Float64[np.ndarray, "t w"]:
    own = samples.get(device)
    if own is None:
        return np.zeros_like(times)
    return np.interp(times, own["time"], own[axis], left=0.0, right=0.0)


def check(path: Path, samples: Samples, devices: Sequence[str], axes: Sequence[str], start: float, end: float) -> None:
    """`VideoError` where a table is not of these devices and axes, or of another time."""
    if other := sorted(set(samples) - set(devices)):
        raise VideoError(f"{path.name} has a device {other[0]!r}; the first table has {', '.join(devices)}")
    for own in samples.values():
        if lacking := [axis for axis in axes if axis not in own]:
            raise VideoError(f"{path.name} has no column {lacking[0]!r}, which the first table has")
    first = min(own["time"][0] for own in samples.values())
    last = max(own["time"][-1] for own in samples.values())
    if first >= end or last <= start:
        raise VideoError(
            f"{path.name} is out of time: it tells of {first:g} s to {last:g} s, and the video lasts from {start:g} s "
            f"to {end:g} s; times count in seconds from its first frame"
        )


def read_samples(path: Path) -> Samples:
    """`VideoError` where the table cannot be read or holds no samples."""
    columns = read_columns(path)
    if "time" not in columns:
        raise VideoError(f"{path.name} has no column `time`; it has {', '.join(columns)}")
    device = np.asarray(columns.get("device", np.zeros(len(columns["time"]), np.int64))).astype(str)
    axes = [name for name in columns if name not in NOT_AXES]
    try:
        numbers = {name: np.asarray(columns[name], np.float64) for name in ("time", *axes)}
    except (TypeError, ValueError) as error:
        raise VideoError(f"{path.name} holds what is no number: {error}") from None
    good = np.all([np.isfinite(values) for values in numbers.values()], axis=0)
    if not axes or not good.any():
        raise VideoError(f"{path.name} holds no samples")
    found = {}
    for one in sorted(set(device[good].tolist()), key=natural):
        own = good & (device == one)
        order = np.argsort(numbers["time"][own], kind="stable")
        found[one] = {name: values[own][order] for name, values in numbers.items()}
    return found


def read_columns(path: Path) -> Mapping[str, Any]:
    """The columns of a table, by their names in small letters."""
    import pandas as pd

    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as file:
                found: Mapping[str, Any] = {name: file[name] for name in file.files}
            if len({len(values) for values in found.values()}) > 1:
                raise VideoError(f"{path.name} holds arrays of different lengths")
        else:
            table = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path)
            found = {str(name): table[name].to_numpy() for name in table}
    except VideoError:
        raise
    except Exception as error:  # of many kinds: parsers, archives, encodings
        raise VideoError(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from None
    return {name.strip().lower(): values for name, values in found.items()}


def layout_of(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The devices and axes of a table, that all others are to have."""
    try:
        samples = read_samples(path)
    except VideoError as error:
        raise CorpusError(f"{path} says which devices and axes there are, and cannot: {error}") from None
    return tuple(samples), tuple(name for name in next(iter(samples.values())) if name not in NOT_AXES)


def natural(name: str) -> tuple[float, str]:
    """Numbers in their order, before names."""
    return (float(name), "") if name.replace(".", "", 1).isdigit() else (math.inf, name)


def dead(corpus: Corpus, devices: Sequence[str], nothing: float) -> list[str]:
    """Of each device that says nothing in some videos, a line."""
    tracks = Tracks.open(corpus, NAME)
    found: dict[str, list[str]] = {device: [] for device in devices}
    videos = [video for video in corpus.select("all") if tracks.find(video) is not None]
    for video in videos:
        values, times = tracks.stored(video)
        for number, device in enumerate(devices if times.size else ()):
            if (values[:, 1:, number] <= np.float16(nothing) + 1e-3).all():
                found[device].append(video.id)
    return [f"device {device}: {named(ids, len(videos))} nothing from it" for device, ids in found.items() if ids]
