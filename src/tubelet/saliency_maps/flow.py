"""Optical flow: how far every place moves to the next frame, from the pixels alone.

An engine takes two grey pictures and says where each pixel of the first went. `Dis` and `Farneback` come with OpenCV
(the extra `flow`); `Raft` runs torchvision's network with weights from a file; any callable of the same face will do.
Start reading at `fill`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, UInt8

from tubelet.corpus.table import Corpus
from tubelet.errors import TubeletError, WeightsError
from tubelet.progress import Progress, silent
from tubelet.saliency_maps import vectors
from tubelet.saliency_maps.filling import Filled, Running
from tubelet.saliency_maps.frames import Piece, pieces
from tubelet.saliency_maps.vectors import Moving, to_cells
from tubelet.stores.maps import map_grid
from tubelet.video.crop import resize
from tubelet.video.reader import SAME, open_reader

NAME = "flow"
SIDE = 256  # pixels: larger frames are shrunk until their short side has so many
Frame = UInt8[np.ndarray, "h w 3"]


@runtime_checkable
class Engine(Protocol):
    """Estimates flow. It travels to worker processes, so it must pickle."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides what it finds, for the record of the maps."""

    def __call__(self, one: Frame, other: Frame) -> Float[np.ndarray, "h w 2"]:
        """How far (dx, dy), in pixels, what is seen at each pixel of `one` has moved in `other`."""


def fill(
    corpus: Corpus, engine: Engine, cells: int = 14, running: Running | None = None, progress: Progress = silent
) -> Filled:
    """Flow maps of every usable video, from each frame to the next, with `cells` along the short side."""
    method = {"flow": dict(engine.identity), "side": SIDE, "cells": cells}
    look = partial(look_at_flow, engine=engine, cells=cells)
    return vectors.fill(corpus, NAME, method, look, partial(pieces, rate=None), running, progress)


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
    for place in range(min(own, len(times) - 1)):
        if (span := float(times[place + 1] - times[place])) > SAME:
            found[place] = shares(engine(small[place], small[place + 1]), rows, columns) / np.float32(span)
    return found, times[:own]


def shrink(frames: UInt8[np.ndarray, "t h w 3"], rows: int, columns: int) -> UInt8[np.ndarray, "t {rows} {columns} 3"]:
    return np.ascontiguousarray(resize(frames, rows, columns).numpy().transpose(1, 2, 3, 0))


def shares(flow: Float[np.ndarray, "h w 2"], rows: int, columns: int) -> Float32[np.ndarray, "{rows} {columns} 2"]:
    """Pixels as shares of the frame, by area on the grid; NaN of an engine counts as still."""
    height, width = flow.shape[:2]
    planes = np.nan_to_num(np.moveaxis(flow, -1, 0), posinf=0.0, neginf=0.0)
    return np.moveaxis(to_cells(planes / np.array([width, height])[:, None, None], rows, columns), 0, -1)


def grey(frame: Frame) -> UInt8[np.ndarray, "h w"]:
    return np.rint(frame @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


@dataclass(frozen=True)
class Dis:
    """Dense inverse search (Kroeger et al., arXiv 1603.03590), OpenCV's, with its preset "medium"."""

    def __post_init__(self) -> None:
        open_cv()

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"engine": "DIS", "preset": "medium", "opencv": open_cv().__version__}

    def __call__(self, one: Frame, other: Frame) -> Float[np.ndarray, "h w 2"]:
        cv2 = open_cv()
        first, second, height, width = enlarge(grey(one), grey(other), 16)  # smaller pictures it refuses
        engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return np.asarray(engine.calc(first, second, None))[:height, :width]


@dataclass(frozen=True)
class Farneback:
    """Polynomial expansion (Farnebäck, SCIA 2003), OpenCV's."""

    levels: int = 3
    window: int = 15
    iterations: int = 3

    def __post_init__(self) -> None:
        open_cv()

    @property
    def identity(self) -> Mapping[str, Any]:
        settings = {"levels": self.levels, "window": self.window, "iterations": self.iterations}
        return {"engine": "Farneback", **settings, "opencv": open_cv().__version__}

    def __call__(self, one: Frame, other: Frame) -> Float[np.ndarray, "h w 2"]:
        pictures = grey(one), grey(other)
        settings = (0.5, self.levels, self.window, self.iterations, 5, 1.2, 0)
        return np.asarray(open_cv().calcOpticalFlowFarneback(*pictures, None, *settings))


@dataclass(frozen=True)
class Raft:
    """RAFT (Teed and Deng, arXiv 2003.12039), torchvision's small or large network, weights from a local file."""

    weights: Path

    def __post_init__(self) -> None:
        raft(self.weights)

    @property
    def identity(self) -> Mapping[str, Any]:
        from tubelet.video.content import content_digest

        return {"engine": "RAFT", "weights": content_digest(self.weights).hex()}

    def __call__(self, one: Frame, other: Frame) -> Float[np.ndarray, "h w 2"]:
        import torch

        first, second, height, width = enlarge(one, other, 128)
        pair = torch.from_numpy(np.stack([first, second])).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            found = raft(self.weights)(pair[:1], pair[1:])[-1][0]
        return found.permute(1, 2, 0).numpy()[:height, :width]


def enlarge(one: np.ndarray, other: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Two pictures, their borders repeated until each side is a multiple of 8 and at least so long."""
    height, width = one.shape[:2]
    down, across = (max(-(-side // 8) * 8, least) - side for side in (height, width))
    border = ((0, down), (0, across), *(((0, 0),) * (one.ndim - 2)))
    return np.pad(one, border, "edge"), np.pad(other, border, "edge"), height, width


@lru_cache(maxsize=1)
def open_cv() -> Any:
    """OpenCV, on one thread; `TubeletError` names the extra that brings it."""
    try:
        import cv2
    except ImportError as error:
        raise TubeletError(
            f"optical flow needs OpenCV ({error}); install it with `pip install 'tubelet[flow]'`"
        ) from None
    cv2.setNumThreads(1)
    return cv2


@lru_cache(maxsize=1)
def raft(weights: Path) -> Any:
    try:
        from torchvision.models.optical_flow import raft_large, raft_small
    except ImportError as error:
        raise TubeletError(f"RAFT needs torchvision ({error}); install it, or use --engine dis") from None
    import torch

    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises of many kinds
        raise WeightsError(f"{weights} cannot be read as weights of RAFT: {str(error).splitlines()[0]}") from None
    for make in (raft_small, raft_large):
        model = make(weights=None)
        if model.state_dict().keys() == state.keys():
            model.load_state_dict(state)
            return model.eval().requires_grad_(False)
    raise WeightsError(f"{weights} holds neither torchvision's raft_small nor its raft_large")
