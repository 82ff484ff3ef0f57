"""Oracle: the ground truth of the synthetic dataset as maps, an upper bound for any method that sees only pixels.

`oracle` is the share of every cell that the subject covers, frame by frame; `oracle_flow` the exact displacement of
what is visible there to the next frame, the last frame included. Start reading at `Oracle`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import chz
import numpy as np
from jaxtyping import Float64

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.runner import Work
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Cells, Filled, Map, Running, fill_videos, single
from tubelet.saliency_maps.vectors import to_cells
from tubelet.stores.maps import MapsWriter, map_grid
from tubelet.synthetic import VERSION, Truth, truth
from tubelet.video.reader import frame_duration, timestamps

NAME, FLOW = "oracle", "oracle_flow"
Times = Float64[np.ndarray, "t"]
Maps = dict[tuple[str, str], Map]


@chz.chz
class Oracle(Cells):
    """Ground truth of the synthetic dataset: where the subject is, and the exact motion everywhere."""

    maps: ClassVar[tuple[str, ...]] = (NAME, FLOW)
    remedy: ClassVar[str] = "render the corpus again with `tubelet synth`"

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        check_truth(corpus)
        method = {"truth": VERSION, "cells": self.cells}
        with (
            MapsWriter(corpus, NAME, "scalar", method, running=running) as subject,
            MapsWriter(corpus, FLOW, "vector", method, running=running) as flow,
        ):
            return fill_truth(corpus, {NAME: subject, FLOW: flow}, subject_maps, self.cells, running, progress)


def check_truth(corpus: Corpus) -> None:
    if "synth" not in corpus.about:
        raise CorpusError(f"{corpus.folder} has no ground truth; only corpora of `tubelet synth` have")


def fill_truth(
    corpus: Corpus,
    writers: Mapping[str, MapsWriter],
    maps_of: Callable[[Video, Truth, Times, int], Maps],
    cells: int,
    running: Running | None,
    progress: Progress,
) -> Filled:
    """The maps that `maps_of` makes of the ground truth of each video."""
    work = Work(partial(look_up, folder=corpus.folder, maps_of=maps_of, cells=cells), whole=single)
    return replace(fill_videos(corpus, writers, lambda video: [video], work, running, progress), method="ground truth")


def look_up(video: Video, folder: Path, maps_of: Callable[[Video, Truth, Times, int], Maps], cells: int) -> Maps:
    known, times = truth(folder, video.id), timestamps(video.path, video.reading)
    if len(times) != len(known.owner):
        raise VideoError(f"the file holds {len(times)} frames and the ground truth {len(known.owner)}")
    return maps_of(video, known, times, cells)


def subject_maps(video: Video, known: Truth, times: Times, cells: int) -> Maps:
    """Where the subject is, and what moves."""
    _, height, width = known.owner.shape
    rows, columns = map_grid(height, width, cells)
    moves = known.flow / np.array([width, height], np.float32)
    flow = np.stack([to_cells(moves[..., axis], rows, columns) for axis in (0, 1)], axis=-1)
    ends = np.append(times, times[-1] + frame_duration(times, video.fps))
    return {(NAME, ""): (to_cells(known.mask.astype(np.float32), rows, columns), times), (FLOW, ""): (flow, ends)}
