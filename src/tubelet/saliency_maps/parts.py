"""Parts: whose every cell is, from the ground truth of the synthetic dataset, for masks that hide part by part.

`parts` has a number for each owner: the share of the cell that belongs to the ground (0), the subject (1) and each of
the distractors (2 and more), frame by frame. Start reading at `Parts`.
"""

from dataclasses import replace
from functools import partial
from typing import ClassVar

import chz
import numpy as np

from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.runner import Work
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Cells, Filled, Map, Running, fill_maps, single, task_of, usable
from tubelet.saliency_maps.oracle import Job, job
from tubelet.saliency_maps.vectors import to_cells
from tubelet.stores.maps import MapsWriter, map_grid
from tubelet.synthetic import VERSION, truth
from tubelet.video.reader import timestamps

NAME = "parts"
MOST = 5  # ground, subject, and as many distractors as a scene may have


@chz.chz
class Parts(Cells):
    """Ground truth of the synthetic dataset: whose each cell is, the ground, the subject or a distractor."""

    remedy: ClassVar[str] = "render the corpus again with `tubelet synth`"

    @property
    def maps(self) -> tuple[str, ...]:
        return (NAME,)

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        if "synth" not in corpus.about:
            raise CorpusError(f"{corpus.folder} has no ground truth; only corpora of `tubelet synth` have")
        videos = usable(corpus)
        with MapsWriter(corpus, NAME, "parts", {"truth": VERSION, "cells": self.cells}, parts=MOST) as maps:
            has = {video.id: maps.has(video, "") for video in videos}
            tasks = [task_of(video, [job(corpus, video)]) for video in videos]
            work = Work(partial(look_up, cells=self.cells), whole=single)
            filled = fill_maps({NAME: maps}, videos, tasks, work, lambda task: has[task.name], running, progress)
        return replace(filled, method="ground truth")


def look_up(job: Job, cells: int) -> dict[tuple[str, str], Map]:
    """The map of one clip."""
    folder, name, path, _, reading = job
    owner = truth(folder, name).owner
    frames, height, width = owner.shape
    times = timestamps(path, reading)
    if len(times) != frames:
        raise VideoError(f"the file holds {len(times)} frames and the ground truth {frames}")
    rows, columns = map_grid(height, width, cells)
    shares = [to_cells((owner == part).astype(np.float32), rows, columns) for part in range(MOST)]
    return {(NAME, ""): (np.stack(shares, axis=-1), times)}
