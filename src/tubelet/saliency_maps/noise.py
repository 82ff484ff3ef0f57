"""Noise: maps that depend on nothing in the video, as smooth in space and time as maps of things. A control.

A mask that hides the top of such a map has the shape of a guided mask (exact counts per time step, whole areas, the
same throughout training) without its content. A map is a function of the video's id.
"""

from dataclasses import replace
from functools import partial
from typing import ClassVar

import chz
import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.jobs.runner import Work
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Cells, Filled, Map, Running, fill_videos, single
from tubelet.seeds import generator
from tubelet.stores.maps import MapsWriter, map_grid

NAME = "noise"
RATE = 4.0  # maps a second
REACH = 0.15  # of the short side: the standard deviation of the smoothing in space
SECONDS = 0.25  # and in time


@chz.chz
class Noise(Cells):
    """Noise that is smooth in space and time: a control for guided masks."""

    maps: ClassVar[tuple[str, ...]] = (NAME,)

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        method = {"cells": self.cells, "rate": RATE, "reach": REACH, "seconds": SECONDS}
        with MapsWriter(corpus, NAME, "scalar", method, running=running) as maps:
            work = Work(partial(make, cells=self.cells), whole=single)
            filled = fill_videos(corpus, {NAME: maps}, lambda video: [video], work, running, progress)
        return replace(filled, method="noise seeded by the video's id")


def make(video: Video, cells: int) -> dict[tuple[str, str], Map]:
    """The map of a video, which is not decoded."""
    seconds = max(video.end - video.start, 0.0)
    times = video.start + np.arange(layers(seconds)) / RATE
    return {(NAME, ""): (smooth_noise(video.id, seconds, *map_grid(video.height or 1, video.width or 1, cells)), times)}


def layers(seconds: float) -> int:
    return max(1, round(max(seconds, 0.0) * RATE) + 1)


def smooth_noise(video: str, seconds: float, rows: int, columns: int) -> Float32[np.ndarray, "t rows columns"]:
    """Unit variance; wrapped around at the borders, so that none of them is special."""
    noise = generator(0, "noise map " + video).standard_normal((layers(seconds), rows, columns))
    reach = REACH * min(rows, columns)
    smooth = gaussian_filter(noise, (SECONDS * RATE, reach, reach), mode=("nearest", "wrap", "wrap"))
    return (smooth / (smooth.std() + 1e-9)).astype(np.float32)
