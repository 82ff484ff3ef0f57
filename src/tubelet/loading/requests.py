"""Which clips of which videos are wanted, and everything drawn for them from keys. Nothing is read here.

Start reading at `training_requests` and `evaluation_request`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from jaxtyping import Int64

from tubelet.corpus.schema import Video
from tubelet.loading.augment import Augment
from tubelet.seeds import generator, key
from tubelet.video.crop import Crop
from tubelet.video.sampling import Sampling
from tubelet.video.views import CENTRE, View

CropOf = Callable[[Video, int, int], Crop]  # which part of a video's frame of (rows, columns) is shown


@dataclass(frozen=True)
class ClipRequest:
    """One clip of a decoded piece: its key, its crop of a frame of (rows, columns), what else changes it."""

    key: int
    crop: Callable[[int, int], Crop]
    rng: np.random.Generator | None = None  # None: nothing else changes it
    view: int = 0
    stream_rng: Callable[[str], np.random.Generator] | None = None  # of a stream by its name; None: its middle


@dataclass(frozen=True)
class PieceRequest:
    """A piece of a video that is decoded once, for one clip or several with crops of their own."""

    video: Video
    begin: float | None  # where it begins, as a share of what is possible; None: in the middle
    pick: float  # of its captions, as a share
    clips: tuple[ClipRequest, ...]
    jitter: np.random.Generator | None = None  # of the moments of frames


def training_request(
    video: Video, seed: int, epoch: int, repeats: Sequence[int], augment: Augment, sampling: Sampling
) -> PieceRequest:
    """The clip of this video in this epoch; a further repeat is another crop of the same frames."""
    rng = generator(seed, "sample", epoch, video.row)
    begin, pick = rng.random(2).tolist()
    clips = []
    for repeat in repeats:
        number = key(seed, "clip", epoch, video.row, *([repeat] if repeat else []))
        own = generator(seed, "copy", epoch, video.row, repeat) if repeat else rng
        of_stream = partial(stream_generator, seed, epoch, video.row, repeat)
        clips.append(ClipRequest(number, partial(augment.draw, own), own, stream_rng=of_stream))
    jitter = generator(seed, "jitter", epoch, video.row) if sampling.jitter else None
    return PieceRequest(video, begin, pick, tuple(clips), jitter)


def stream_generator(seed: int, epoch: int, row: int, repeat: int, stream: str) -> np.random.Generator:
    return generator(seed, f"stream {stream}", epoch, row, *([repeat] if repeat else []))


def training_requests(
    videos: Sequence[Video],
    step: int,
    further: int = 0,
    *,
    size: int,
    seed: int,
    rank: int,
    world: int,
    augment: Augment,
    sampling: Sampling,
) -> list[PieceRequest]:
    """What a rank reads for a step: positions `(step * world + rank) * size` and following of an endless row of epochs,
    each a permutation of the videos; or so many places further in the same epoch, the first of these pieces alone."""
    first = (step * world + rank) * size
    repeats = augment.repeats
    draws: dict[int, list[int]] = {}  # number of the decoded piece -> which of its repeats
    for position in range(first, first + size):
        draws.setdefault(position // repeats, []).append(position % repeats)
    wanted = []
    for number, some in list(draws.items())[: 1 if further else None]:
        epoch, index = divmod(number, len(videos))
        order = permutation(seed, epoch, len(videos))
        video = videos[int(order[(index + further) % len(videos)])]
        wanted.append(training_request(video, seed, epoch, some, augment, sampling))
    return wanted


def evaluation_requests(
    video: Video, views: Sequence[View] = (CENTRE,), crop: CropOf | None = None
) -> list[PieceRequest]:
    """A clip for each view; views of the same time share what is decoded."""
    number = key(0, "evaluation", video.row)
    pieces = []
    for time in dict.fromkeys(view.time for view in views):
        clips = tuple(
            ClipRequest(number, partial(crop, video) if crop else partial(Crop.along, index=view.index), view=index)
            for index, view in enumerate(views)
            if view.time == time
        )
        pieces.append(PieceRequest(video, time, 0.0, clips))
    return pieces


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, count: int) -> Int64[np.ndarray, "{count}"]:
    """The order of an epoch."""
    return generator(seed, "order", epoch, count).permutation(count)
