"""Optical-flow estimators: two frames to a field of displacements. OpenCV's come with the extra `flow`."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import chz
import numpy as np
from jaxtyping import Float, UInt8

from tubelet.errors import RecipeError, TubeletError, WeightsError
from tubelet.saliency_maps.base import Engine

Frame = UInt8[np.ndarray, "h w 3"]


def grey(frame: Frame) -> UInt8[np.ndarray, "h w"]:
    return np.rint(frame @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


@chz.chz
class Dis(Engine):
    """Dense inverse search (Kroeger et al., arXiv 1603.03590), OpenCV's, with its preset "medium"."""

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"engine": "DIS", "preset": "medium", "opencv": open_cv().__version__}

    def __call__(self, one: Frame, other: Frame) -> Float[np.ndarray, "h w 2"]:
        cv2 = open_cv()
        first, second, height, width = enlarge(grey(one), grey(other), 16)  # it refuses smaller images
        engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return np.asarray(engine.calc(first, second, None))[:height, :width]


@chz.chz
class Farneback(Engine):
    """Polynomial expansion (Farnebäck, SCIA 2003), OpenCV's."""

    levels: int = chz.field(default=3, doc="levels of the pyramid")
    window: int = chz.field(default=15, doc="pixels of the averaging window")
    iterations: int = chz.field(default=3, doc="iterations at each level")

    @property
    def identity(self) -> Mapping[str, Any]:
        settings = {"levels": self.levels, "window": self.window, "iterations": self.iterations}
        return {"engine": "Farneback", **settings, "opencv": open_cv().__version__}

    def __call__(self, one: Frame, other: Frame) -> Float[np.ndarray, "h w 2"]:
        pictures = grey(one), grey(other)
        settings = (0.5, self.levels, self.window, self.iterations, 5, 1.2, 0)
        return np.asarray(open_cv().calcOpticalFlowFarneback(*pictures, None, *settings))


@chz.chz
class Raft(Engine):
    """RAFT (Teed and Deng, arXiv 2003.12039), torchvision's small or large network, weights from a local file."""

    weights: str | None = chz.field(default=None, doc="a file of torchvision's weights, small or large")

    @property
    def identity(self) -> Mapping[str, Any]:
        from tubelet.video.content import content_digest

        raft(self.file)
        return {"engine": "RAFT", "weights": content_digest(self.file).hex()}

    @property
    def file(self) -> Path:
        if not self.weights:
            raise RecipeError("Raft needs its weights: give engine.weights=FILE, a file of torchvision's weights")
        return Path(self.weights)

    def __call__(self, one: Frame, other: Frame) -> Float[np.ndarray, "h w 2"]:
        import torch

        first, second, height, width = enlarge(one, other, 128)
        pair = torch.from_numpy(np.stack([first, second])).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            found = raft(self.file)(pair[:1], pair[1:])[-1][0]
        return found.permute(1, 2, 0).numpy()[:height, :width]


def enlarge(one: np.ndarray, other: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Two images, their borders repeated until each side is a multiple of 8 and at least so long."""
    height, width = one.shape[:2]
    down, across = (max(-(-side // 8) * 8, least) - side for side in (height, width))
    border = ((0, down), (0, across), *(((0, 0),) * (one.ndim - 2)))
    return np.pad(one, border, "edge"), np.pad(other, border, "edge"), height, width


@chz.chz
class NoFlow(Engine):
    """No optical flow."""

    @property
    def identity(self) -> Mapping[str, Any]:
        raise RecipeError("optical flow needs an engine: engine=Dis, engine=Farneback or engine=Raft")


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
        raise TubeletError(f"RAFT needs torchvision ({error}); install it, or use engine=Dis") from None
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
