"""Oracle: the ground truth of the synthetic dataset as maps, an upper bound for any method that sees only pixels.

`oracle` is the share of every cell that the subject covers, frame by frame; `oracle_flow` the exact displacement of
what is visible there to the next frame, the last frame included. Start reading at `Oracle`.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import chz
import numpy as np

from tubelet.corpus.table import Corpus, Video
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.runner import Work
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Cells, Filled, Map, Running, fill_maps, single, task_of, usable
from tubelet.saliency_maps.vectors import to_cells
from tubelet.stores.maps import MapsWriter, map_grid
from tubelet.synthetic import VERSION, truth
from tubelet.video.reader import frame_duration, timestamps

NAME, FLOW = "oracle", "oracle_flow"
Job = tuple[Path, str, Path, float, str | None]


@chz.chz
class Oracle(Cells):
    """Ground truth of the synthetic dataset: where the subject is, and the exact motion everywhere."""

    remedy: ClassVar[str] = "render the corpus again with `tubelet synth`"

    @property
    def maps(self) -> tuple[str, ...]:
        return NAME, FLOW

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        if "synth" not in corpus.about:
            raise CorpusError(f"{corpus.folder} has no ground truth; only corpora of `tubelet synth` have")
        videos = usable(corpus)
        method = {"truth": VERSION, "cells": self.cells}
        with (
            MapsWriter(corpus, NAME, "scalar", method) as subject,
            MapsWriter(corpus, FLOW, "vector", method) as flow,
        ):
            has = {video.id: subject.has(video, "") and flow.has(video, "") for video in videos}
            tasks = [task_of(video, [job(corpus, video)]) for video in videos]
            work, writers = Work(partial(look_up, cells=self.cells), whole=single), {NAME: subject, FLOW: flow}
            filled = fill_maps(writers, videos, tasks, work, lambda task: has[task.name], running, progress)
        return replace(filled, method="ground truth")


def job(corpus: Corpus, video: Video) -> Job:
    return corpus.folder, video.id, video.path, video.fps, video.reading


def look_up(job: Job, cells: int) -> dict[tuple[str, str], Map]:
    """The maps of one clip."""
    folder, name, path, fps, reading = job
    known = truth(folder, name)
    frames, height, width = known.owner.shape
    times = timestamps(path, reading)
    if len(times) != frames:
        raise VideoError(f"the file holds {len(times)} frames and the ground truth {frames}")
    rows, columns = map_grid(height, width, cells)
    moves = known.flow / np.array([width, height], np.float32)
    flow = np.stack([to_cells(moves[..., axis], rows, columns) for axis in (0, 1)], axis=-1)
    ends = np.append(times, times[-1] + frame_duration(times, fps))
    return {(NAME, ""): (to_cells(known.mask.astype(np.float32), rows, columns), times), (FLOW, ""): (flow, ends)}
