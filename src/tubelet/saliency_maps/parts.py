"""Parts: whose every cell is, from the ground truth of the synthetic dataset, for masks that hide part by part.

`parts` has a number for each owner: the share of the cell that belongs to the ground (0), the subject (1) and each of
the distractors (2 and more), frame by frame; of `synth-2` to the ground, the distractors, and each part of the face.
Start reading at `Parts`.
"""

from typing import ClassVar

import chz
import numpy as np

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Cells, Filled, Running
from tubelet.saliency_maps.oracle import Maps, Times, check_truth, fill_truth
from tubelet.saliency_maps.vectors import to_cells
from tubelet.stores.maps import MapsWriter, map_grid
from tubelet.synthetic import VERSION, Truth
from tubelet.synthetic.faces import PARTS
from tubelet.synthetic.faces import VERSION as FACES

NAME = "parts"
MOST = 5  # ground, subject, and as many distractors as a scene may have


@chz.chz
class Parts(Cells):
    """Ground truth of the synthetic dataset: whose each cell is, the ground, the subject or a distractor."""

    maps: ClassVar[tuple[str, ...]] = (NAME,)
    remedy: ClassVar[str] = "render the corpus again with `tubelet synth`"

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        check_truth(corpus)
        seven = corpus.name == FACES
        method = {"truth": FACES if seven else VERSION, "cells": self.cells}
        with MapsWriter(corpus, NAME, "parts", method, len(PARTS) if seven else MOST, running) as maps:
            return fill_truth(corpus, {NAME: maps}, part_maps, self.cells, running, progress)


def part_maps(video: Video, known: Truth, times: Times, cells: int) -> Maps:
    """Whose each cell is."""
    _, height, width = known.owner.shape
    rows, columns = map_grid(height, width, cells)
    whose, count = (known.owner, MOST) if known.parts is None else (known.parts, len(PARTS))
    shares = [to_cells((whose == part).astype(np.float32), rows, columns) for part in range(count)]
    return {(NAME, ""): (np.stack(shares, axis=-1), times)}
