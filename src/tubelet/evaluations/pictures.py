"""Small pictures of the videos that the examples of a search name, kept with the run for its report."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch.nn.functional import interpolate

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import VideoError
from tubelet.reports.pictures import Thumbnails, load_thumbnails, save
from tubelet.video.reader import glance

SIDE = 112


def keep_thumbnails(corpus: Corpus, ids: Iterable[str], run: Path, parts: Mapping[str, Video] | None = None) -> Path:
    """The middle frame of each video, cut to the centre square, beside those that the run keeps already.

    A video that cannot be read is left out. `parts` are parts of videos, by names of their own.
    """
    videos = {**corpus.by_id, **(parts or {})}
    ids = list(dict.fromkeys(ids))
    before = load_thumbnails(run)
    kept = [] if before is None else [index for index, name in enumerate(before.ids) if name not in ids]
    names = [] if before is None else [str(before.ids[index]) for index in kept]
    frames = [] if before is None else [before.frames[index] for index in kept]
    for name in ids:
        if (frame := middle_frame(videos[name])) is not None:
            names.append(name)
            frames.append(frame)
    shape = (0, SIDE, SIDE, 3)
    return save(Thumbnails(np.array(names, dtype=str), np.stack(frames) if frames else np.zeros(shape, np.uint8)), run)


def middle_frame(video: Video) -> UInt8[np.ndarray, "s s 3"] | None:
    """The frame in the middle, its centre square; None where it cannot be read."""
    try:
        return square(glance(video.path, (video.start + video.end) / 2, video.reading))
    except VideoError:
        return None


def square(frame: np.ndarray) -> np.ndarray:
    """The centre square at `SIDE`: uint8 "h w 3" to "SIDE SIDE 3"."""
    height, width, _ = frame.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = rearrange(torch.from_numpy(frame[top : top + side, left : left + side].copy()), "h w c -> 1 c h w")
    small = interpolate(image.float(), size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return rearrange(small.round().clamp(0, 255).byte(), "1 c h w -> h w c").numpy()


def named_videos(examples: dict[str, list[dict]]) -> list[str]:
    """The videos among the queries and answers of examples, by kind: "text to video", "video to video", ..."""
    found: list[str] = []
    for kind, queries in examples.items():
        asked, answered = kind.split(" to ")
        for query in queries:
            found += [query["query"]] if asked == "video" else []
            found += [answer["answer"] for answer in query["answers"]] if answered == "video" else []
    return found
