"""Parts: whose every cell is, from the ground truth of the synthetic dataset, for masks that hide part by part.

`parts` has a number for each owner: the share of the cell that belongs to the ground (0), the subject (1) and each of
the distractors (2 and more), frame by frame. Start reading at `Parts`.
"""

from typing import ClassVar

import chz
import numpy as np

from tubelet.corpus.table import Corpus, Video
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Cells, Filled, Running
from tubelet.saliency_maps.oracle import Maps, Times, check_truth, fill_truth
from tubelet.saliency_maps.vectors import to_cells
from tubelet.stores.maps import MapsWriter, map_grid
from tubelet.synthetic import VERSION, Truth

NAME = "parts"
MOST = 5  # ground, subject, and as many distractors as a scene may have


@chz.chz
class Parts(Cells):
    """Ground truth of the synthetic dataset: whose each cell is, the ground, the subject or a distractor."""

    maps: ClassVar[tuple[str, ...]] = (NAME,)
    remedy: ClassVar[str] = "render the corpus again with `tubelet synth`"

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        check_truth(corpus)
        with MapsWriter(
            corpus, NAME, "parts", {"truth": VERSION, "cells": self.cells}, parts=MOST, running=running
        ) as maps:
            return fill_truth(corpus, {NAME: maps}, part_maps, self.cells, running, progress)


def part_maps(video: Video, known: Truth, times: Times, cells: int) -> Maps:
    """Whose each cell is."""
    _, height, width = known.owner.shape
    rows, columns = map_grid(height, width, cells)
    shares = [to_cells((known.owner == part).astype(np.float32), rows, columns) for part in range(MOST)]
    return {(NAME, ""): (np.stack(shares, axis=-1), times)}
