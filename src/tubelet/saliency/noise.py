"""Maps that know nothing: noise as smooth in space and time as maps of things are. A control of every guided mask.

What a mask that hides the top of these teaches is what its shape teaches: exact counts slot by slot, whole areas, the
same all through training. A map is a function of the video's id.
"""

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter

from tubelet.data.maps import MapsWriter, map_grid
from tubelet.data.table import Corpus
from tubelet.saliency.filling import Filled, Progress, quiet, usable, write
from tubelet.seeds import generator

NAME = "noise"
RATE = 4.0  # layers a second
REACH = 0.15  # of the short side: the standard deviation of the smoothing in space
SECONDS = 0.25  # and in time


def fill(corpus: Corpus, cells: int = 14, progress: Progress = quiet) -> Filled:
    """One map of every usable video, with `cells` along the short side."""
    videos = usable(corpus)
    with MapsWriter(corpus, NAME, "scalar", {"cells": cells, "rate": RATE, "reach": REACH, "seconds": SECONDS}) as maps:
        todo = [video for video in videos if not maps.has(video, "")]
        made = (
            (place, {(NAME, ""): (drawn(video.id, max(video.end - video.start, 0.0), *grid), times)})
            for place, video in enumerate(todo)
            for grid in [map_grid(video.height or 1, video.width or 1, cells)]
            for times in [video.start + np.arange(layers(video.end - video.start)) / RATE]
        )
        write({NAME: maps}, todo, made, len(videos), progress)
    return Filled(len(videos), len(todo), {})


def layers(seconds: float) -> int:
    return max(1, round(max(seconds, 0.0) * RATE) + 1)


def drawn(video: str, seconds: float, rows: int, columns: int) -> Float32[np.ndarray, "t rows columns"]:
    """Unit variance in the mean; wrapped around at the borders, so that none of them is special."""
    noise = generator(0, "noise map " + video).standard_normal((layers(seconds), rows, columns))
    reach = REACH * min(rows, columns)
    smooth = gaussian_filter(noise, (SECONDS * RATE, reach, reach), mode=("nearest", "wrap", "wrap"))
    return (smooth / (smooth.std() + 1e-9)).astype(np.float32)
