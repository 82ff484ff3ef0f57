"""Maps that know nothing: noise as smooth in space and time as maps of things are. A control of every guided mask.

What a mask that hides the top of these teaches is what its shape teaches: exact counts slot by slot, whole areas, the
same all through training. A map is a function of the video's id.
"""

from functools import partial

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter

from tubelet.corpus.table import Corpus, Video
from tubelet.jobs.runner import Work
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.filling import Filled, Map, Running, alone, fill_maps, task_of, usable
from tubelet.seeds import generator
from tubelet.stores.maps import MapsWriter, map_grid

NAME = "noise"
RATE = 4.0  # layers a second
REACH = 0.15  # of the short side: the standard deviation of the smoothing in space
SECONDS = 0.25  # and in time


def fill(corpus: Corpus, cells: int = 14, running: Running | None = None, progress: Progress = silent) -> Filled:
    """One map of every usable video, with `cells` along the short side."""
    videos = usable(corpus)
    with MapsWriter(corpus, NAME, "scalar", {"cells": cells, "rate": RATE, "reach": REACH, "seconds": SECONDS}) as maps:
        has = {video.id: maps.has(video, "") for video in videos}
        tasks = [task_of(video, [video]) for video in videos]
        work = Work(partial(make, cells=cells), whole=alone)
        return fill_maps({NAME: maps}, videos, tasks, work, lambda task: has[task.name], running, progress)


def make(video: Video, cells: int) -> dict[tuple[str, str], Map]:
    """The map of a video, which is not looked at."""
    seconds = max(video.end - video.start, 0.0)
    times = video.start + np.arange(layers(seconds)) / RATE
    return {(NAME, ""): (drawn(video.id, seconds, *map_grid(video.height or 1, video.width or 1, cells)), times)}


def layers(seconds: float) -> int:
    return max(1, round(max(seconds, 0.0) * RATE) + 1)


def drawn(video: str, seconds: float, rows: int, columns: int) -> Float32[np.ndarray, "t rows columns"]:
    """Unit variance in the mean; wrapped around at the borders, so that none of them is special."""
    noise = generator(0, "noise map " + video).standard_normal((layers(seconds), rows, columns))
    reach = REACH * min(rows, columns)
    smooth = gaussian_filter(noise, (SECONDS * RATE, reach, reach), mode=("nearest", "wrap", "wrap"))
    return (smooth / (smooth.std() + 1e-9)).astype(np.float32)
