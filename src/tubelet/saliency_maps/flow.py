"""Flow: how far every position moves to the next frame, by optical flow. Start reading at `Flow`."""

from dataclasses import replace
from functools import partial
from typing import ClassVar

import chz
import numpy as np
from jaxtyping import Float, Float32, UInt8

from tubelet.corpus.table import Corpus
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Cells, Engine, Filled, Running
from tubelet.saliency_maps.engines import Dis
from tubelet.saliency_maps.frames import Piece, pieces
from tubelet.saliency_maps.vectors import Moving, fill_vectors, to_cells
from tubelet.stores.maps import map_grid
from tubelet.video.crop import resize
from tubelet.video.reader import SAME, open_reader

NAME = "flow"
SIDE = 256  # pixels: larger frames are resized to this short side


@chz.chz
class Flow(Cells):
    """Motion to the next frame, by optical flow."""

    maps: ClassVar[tuple[str, ...]] = (NAME,)

    engine: Engine = chz.field(default_factory=Dis, doc="the estimator")

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        identity = dict(self.engine.identity)
        method = {"flow": identity, "side": SIDE, "cells": self.cells}
        look = partial(look_at_flow, engine=self.engine, cells=self.cells)
        filled = fill_vectors(corpus, NAME, method, look, partial(pieces, rate=None), running, progress)
        return replace(filled, method=f"{identity['engine']} optical flow")


def look_at_flow(piece: Piece, engine: Engine, cells: int) -> Moving:
    """The velocities of a piece; the last frame has none, unless another follows in the next piece."""
    with open_reader(piece.path, piece.start, piece.next, reading=piece.reading) as reader:
        times = reader.times
        own = int((times < piece.end - SAME).sum())
        times = times[: own + 1]
        if not own:
            return np.empty((0, 1, 1, 2), np.float32), times[:0]
        frames = reader.frames(times)
    height, width = frames.shape[1:3]
    scale = min(1.0, SIDE / min(height, width))
    small = shrink(frames, max(round(height * scale), 1), max(round(width * scale), 1))
    rows, columns = map_grid(height, width, cells)
    found = np.full((own, rows, columns, 2), np.nan, np.float32)
    for position in range(min(own, len(times) - 1)):
        if (span := float(times[position + 1] - times[position])) > SAME:
            found[position] = shares(engine(small[position], small[position + 1]), rows, columns) / np.float32(span)
    return found, times[:own]


def shrink(frames: UInt8[np.ndarray, "t h w 3"], rows: int, columns: int) -> UInt8[np.ndarray, "t {rows} {columns} 3"]:
    return np.ascontiguousarray(resize(frames, rows, columns).numpy().transpose(1, 2, 3, 0))


def shares(flow: Float[np.ndarray, "h w 2"], rows: int, columns: int) -> Float32[np.ndarray, "{rows} {columns} 2"]:
    """Pixels as shares of the frame, by area on the grid; NaN of an engine counts as still."""
    height, width = flow.shape[:2]
    planes = np.nan_to_num(np.moveaxis(flow, -1, 0), posinf=0.0, neginf=0.0)
    return np.moveaxis(to_cells(planes / np.array([width, height])[:, None, None], rows, columns), 0, -1)
