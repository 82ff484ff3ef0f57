"""Features of every moment of a video, however long: clips over all of it, of each time step the mean over those that
see it. Start reading at `timelines`.

Moments of a file are taken as evenly spaced, as its frame rate says; those of a track stand where it says.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from tubelet.corpus.schema import Video
from tubelet.errors import CorpusError
from tubelet.evaluations.features import Extraction, choose_videos, encode
from tubelet.evaluations.sharded import map_batches
from tubelet.stores.tracks import Tracks
from tubelet.types import Batch, Clip
from tubelet.video.sampling import Sampling
from tubelet.video.views import View


@dataclass(frozen=True)
class Timeline:
    """The features of one video, a row for each `step` seconds that a clip saw."""

    video: Video
    step: float
    times: Float64[np.ndarray, "s"]  # the middle of each, in seconds of the file
    features: Float[Tensor, "s d"]


@dataclass(frozen=True)
class Windows:
    """The clips over one video: where each begins, as a share of what is possible, and when its time steps are."""

    begins: tuple[float, ...]
    middles: Float64[np.ndarray, "w t"]
    step: float

    @classmethod
    def over(cls, times: Float64[np.ndarray, "all"], clip: Clip, sampling: Sampling) -> "Windows":
        """As few as leave nothing out; the last ends with the video."""
        every = float(times[-1] - times[0]) / max(len(times) - 1, 1)
        first = sampling.times(times, clip, 0.0).times
        apart = max([every, *np.diff(first).tolist()])  # of a short video some are repeated
        span = float(first[-1] - first[0]) + apart
        count = max(1, math.ceil((times[-1] - times[0] + every) / max(span, 1e-9) - 1e-6))
        begins = tuple(np.linspace(0, 1, count).tolist()) if count > 1 else (0.0,)
        starts = np.stack([sampling.times(times, clip, begin).times for begin in begins])
        middles = reduce(starts, "w (t f) -> w t", "mean", f=clip.tubelet_frames) + apart / 2
        return cls(begins, middles, apart * clip.tubelet_frames)


def timelines(how: Extraction, split: str) -> tuple[list[Timeline], list[str]]:
    """Of every video of a split that can be read, and why the others cannot."""
    videos = choose_videos(how.corpus, split, how.limit, how.seed, how.data.where)
    failed = [f"{video.id}: {video.reason or video.status}" for video in videos if video.status != "ok"]
    plans = {video.id: windows_of(how, video) for video in videos if video.status == "ok"}
    together: dict[tuple[float, ...], list[Video]] = {}  # whose clips begin alike
    for video in videos:
        if video.id in plans:
            together.setdefault(plans[video.id].begins, []).append(video)
    found: dict[str, Timeline] = {}
    for begins, some in together.items():
        tokens: dict[str, list[np.ndarray]] = {video.id: [] for video in some}
        for lines, made in read(how, some, begins):
            failed += lines
            for name, steps in made:
                tokens[name].append(steps)
        bad = {line.partition(": ")[0] for line in failed}
        for video in some:
            if video.id not in bad:
                found[video.id] = averaged(video, plans[video.id], np.stack(tokens[video.id]))
        how.progress(len(found) + len(failed), len(videos), "")
    if not found:
        raise CorpusError(f"none of {len(videos)} videos of corpus {how.corpus.name} could be read; first: {failed[0]}")
    return [found[video.id] for video in videos if video.id in found], list(dict.fromkeys(failed))


def windows_of(how: Extraction, video: Video) -> Windows:
    clip = how.clip
    if clip.track:
        times = Tracks.open(how.corpus, clip.track).reader(video).times
    else:
        times = video.start + np.arange(max(video.frames, 1)) / max(video.fps, 1e-3)
    return Windows.over(times, clip, how.data.sampling)


def read(
    how: Extraction, videos: Sequence[Video], begins: Sequence[float]
) -> Iterator[tuple[tuple[str, ...], list[tuple[str, np.ndarray]]]]:
    """The time steps of clips, in order: of several videos at once, or of one some clips at a time, so that memory does
    not grow with its length."""
    encoder, clip = how.encoder, how.clip
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))

    def steps(some: Batch) -> tuple[tuple[str, ...], list[tuple[str, np.ndarray]]]:
        if not len(some):
            return some.failed, []
        with torch.inference_mode():
            tokens = encode(encoder, some.video.to(device)).float()
        means = reduce(tokens, "b (t n) d -> b t d", "mean", t=clip.grid[0]).cpu().numpy()
        return some.failed, list(zip(some.ids, means, strict=True))

    training = encoder.training
    encoder.eval()
    try:
        for first in range(0, len(begins), how.batch):
            views = [View(begin) for begin in begins[first : first + how.batch]]
            yield from map_batches(
                "time steps", steps, how.corpus, videos, clip, how.data, batch=how.batch, views=views
            )
    finally:
        encoder.train(training)


def averaged(video: Video, windows: Windows, tokens: Float[np.ndarray, "w t d"]) -> Timeline:
    """One row for each step of the video that a time step lies in."""
    start = video.start
    index = np.floor((windows.middles.reshape(-1) - start) / windows.step + 1e-6).astype(np.int64)
    rows, place = np.unique(index, return_inverse=True)
    total = np.zeros((len(rows), tokens.shape[-1]))
    np.add.at(total, place, tokens.reshape(-1, tokens.shape[-1]))
    mean = total / np.bincount(place)[:, None]
    return Timeline(video, windows.step, start + (rows + 0.5) * windows.step, torch.from_numpy(mean).float())


def labels_at(
    times: Float64[np.ndarray, "s"], spans: Sequence[tuple[float, float, int]], background: int
) -> Int64[np.ndarray, "s"]:
    """What happens at each time; of several moments the one that began last."""
    found = np.full(len(times), background)
    for start, end, label in sorted(spans):
        found[(times >= start) & (times < end)] = label
    return found
