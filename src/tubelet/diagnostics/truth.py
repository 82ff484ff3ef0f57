"""The ground truth that masks and maps are measured against, and the tally of what is measured, clip by clip.

A cell (a patch of a map, a tubelet of a clip) is positive where the subject covers at least half of it, negative where
it covers none of it; others are left out. *Distractors* are the negatives of which other things cover at least half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from einops import reduce
from jaxtyping import Bool, Float, Float32, Int64

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.loading.requests import CropOf
from tubelet.stores.resample import area_weights
from tubelet.synthetic import Truth, truth
from tubelet.types import Clip, Grid
from tubelet.video.crop import Crop
from tubelet.video.reader import SAME, timestamps
from tubelet.video.sampling import Sampling

WHOLE = Crop(0.0, 0.0, 1.0, 1.0)
AGAINST = ("all", "distractors")
Table = dict[str, dict[str, dict[str, dict[str, float]]]]
"""row -> measure -> camera ("overall" first) -> mean, standard error over clips, clips."""


@dataclass(frozen=True)
class TrueClip:
    """What each tubelet of a clip shows, and where it goes: pixel i is in tubelet before[i], then in after[i]."""

    camera: str
    subject: Float32[np.ndarray, "n"]
    others: Float32[np.ndarray, "n"]
    before: Int64[np.ndarray, "i"]
    after: Int64[np.ndarray, "i"]

    @classmethod
    def of(
        cls, corpus: Corpus, video: Video, clip: Clip, sampling: Sampling, crop_of: CropOf | None = None
    ) -> "TrueClip":
        known = truth(corpus, video)
        stamps = timestamps(video.path, video.reading)
        frames = np.searchsorted(stamps, sampling.times(stamps, clip, "centre").times - SAME)
        size = known.owner.shape[1:]
        crop = crop_of(video, *size) if crop_of else Crop.centre(*size)
        owner = crop.cut(known.owner[frames][..., None])[..., 0]
        subject, others = (
            reduce(coverage(mask, *clip.grid[1:]), "(s f) r c -> (s r c)", "mean", f=clip.tubelet_frames)
            for mask in (owner == 1, owner >= 2)
        )
        before, after = followed(known, frames[:: clip.tubelet_frames], clip.grid, crop)
        return cls(known.camera, subject, others, before, after)


def followed(
    known: Truth, frames: Sequence[int] | Int64[np.ndarray, "s"], grid: Grid, crop: Crop = WHOLE
) -> tuple[Int64[np.ndarray, "i"], Int64[np.ndarray, "i"]]:
    """The tubelet of every pixel of each time step's first frame but the last's, and the one where its content is next.

    Left out is what is not seen now or then: out of the crop, or behind something else.
    """
    _, rows, columns = grid
    height, width = known.owner.shape[1:]
    y, x = np.mgrid[:height, :width] + 0.5
    top, left, down, across = crop.pixels(height, width)
    shown = (y > top) & (y < top + down) & (x > left) & (x < left + across)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for time_step, (start, end) in enumerate(pairwise(frames)):
        moved = known.moved(int(start), int(end))
        later_x, later_y = x + moved[..., 0], y + moved[..., 1]
        column, row = np.floor(later_x).astype(int), np.floor(later_y).astype(int)
        inside = shown & (column >= left) & (column < left + across) & (row >= top) & (row < top + down)
        seen = known.owner[end, row.clip(0, height - 1), column.clip(0, width - 1)] == known.owner[start]
        chosen = inside & seen
        here, there = (
            position_of((at_y[chosen] - top) / down, mirrored((at_x[chosen] - left) / across, crop.flip), rows, columns)
            for at_y, at_x in ((y, x), (later_y, later_x))
        )
        pairs.append((here + time_step * rows * columns, there + (time_step + 1) * rows * columns))
    if not pairs:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate([one for one, _ in pairs]), np.concatenate([other for _, other in pairs])


def mirrored(x: Float[np.ndarray, "i"], flip: bool) -> Float[np.ndarray, "i"]:
    return 1 - x if flip else x


def position_of(
    y: Float[np.ndarray, "i"], x: Float[np.ndarray, "i"], rows: int, columns: int
) -> Int64[np.ndarray, "i"]:
    """The position that holds a point, in shares of the frame."""
    row, column = (y * rows).astype(np.int64), (x * columns).astype(np.int64)
    return row.clip(0, rows - 1) * columns + column.clip(0, columns - 1)


def coverage(mask: Bool[np.ndarray, "t h w"], rows: int, columns: int) -> Float32[np.ndarray, "t {rows} {columns}"]:
    """The share of every cell that the mask covers."""
    down, across = area_weights(0.0, 1.0, rows, mask.shape[1]), area_weights(0.0, 1.0, columns, mask.shape[2])
    return np.round(down @ mask.astype(np.float32) @ across.T, 6)


def areas_of(
    score: Float[np.ndarray, "*cells"], subject: Float[np.ndarray, "*cells"], others: Float[np.ndarray, "*cells"]
) -> dict[str, float]:
    """The ROC area of a score for the subject, against all cells without it and against those of distractors alone."""
    positive, negative = subject >= 0.5, subject == 0
    return {
        "all": roc_area(score[positive], score[negative]),
        "distractors": roc_area(score[positive], score[negative & (others >= 0.5)]),
    }


def roc_area(positive: Float[np.ndarray, "p"], negative: Float[np.ndarray, "q"]) -> float:
    """The chance that a positive scores above a negative, ties counting half; NaN where a side is empty."""
    if not positive.size or not negative.size:
        return float("nan")
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    upto = np.searchsorted(ordered, positive, side="right")
    return float((below + upto).mean() / 2 / negative.size)


def by_camera(values: Mapping[str, Mapping[str, Sequence[float]]], cameras: Sequence[str]) -> Table:
    """row -> measure -> camera ("overall" first) -> mean, standard error over clips, clips."""
    kinds = np.array(cameras)
    groups = {"overall": np.ones(len(kinds), bool), **{name: kinds == name for name in sorted(set(cameras))}}
    return {
        row: {
            measure: {name: mean_and_error(np.array(of_clips)[chosen]) for name, chosen in groups.items()}
            for measure, of_clips in measures.items()
        }
        for row, measures in values.items()
    }


def mean_and_error(areas: Float[np.ndarray, "n"]) -> dict[str, float]:
    there = areas[np.isfinite(areas)]
    if not there.size:
        return {"mean": float("nan"), "error": float("nan"), "clips": 0}
    error = float(there.std(ddof=1) / there.size**0.5) if there.size > 1 else float("nan")
    return {"mean": float(there.mean()), "error": error, "clips": int(there.size)}
