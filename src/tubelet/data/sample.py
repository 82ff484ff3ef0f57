"""The one place where the frames of a clip are chosen: true strides in source frames, or true steps in time."""

from dataclasses import dataclass
from typing import Literal

import chz
import numpy as np
from jaxtyping import Float64

from tubelet.errors import RecipeError, VideoError
from tubelet.types import Clip

STRIDE = 4


@dataclass(frozen=True)
class Sampled:
    """When the frames of a clip are shown, and whether the source was shorter than the clip's span."""

    times: Float64[np.ndarray, "t"]
    short: bool


@chz.chz
class Sampling:
    """Which frames of a video make a clip."""

    stride: int | None = chz.field(
        default=None, doc=f"step in source frames ({STRIDE} where step_ms is not given either)"
    )
    step_ms: float | None = chz.field(default=None, doc="step in milliseconds, whatever the frame rate")
    short: Literal["repeat", "stretch", "refuse"] = chz.field(
        default="repeat",
        doc="a source shorter than the span: repeat its last frame, spread over what is there, or refuse",
    )

    @chz.validate
    def _one_step(self) -> None:
        if self.stride is not None and self.step_ms is not None:
            raise RecipeError(
                f"sampling.stride={self.stride} and sampling.step_ms={self.step_ms:g} exclude each other; give one"
            )
        if self.stride is not None and self.stride < 1:
            raise RecipeError(f"sampling.stride={self.stride} must be at least 1")
        if self.step_ms is not None and not self.step_ms > 0:
            raise RecipeError(f"sampling.step_ms={self.step_ms:g} must be positive")

    @property
    def frames_apart(self) -> int | None:
        """The stride in source frames; None where the step is one of time."""
        return None if self.step_ms is not None else self.stride or STRIDE

    def seconds(self, clip: Clip, fps: float) -> float:
        """How much of a video of this rate a clip spans, from its first frame to its last."""
        step = self.step_ms / 1000 if self.step_ms is not None else (self.stride or STRIDE) / max(fps, 1e-3)
        return (clip.frames - 1) * step

    def times(self, timestamps: Float64[np.ndarray, "all"], clip: Clip, u: float | Literal["centre"]) -> Sampled:
        """The times of a clip's frames among these. `u` in [0, 1] says where the clip begins."""
        if not timestamps.size:
            raise VideoError("the video has no frames")
        places, short = (
            by_stride(len(timestamps), clip.frames, self.frames_apart, u)
            if self.frames_apart is not None
            else by_time(timestamps, clip.frames, (self.step_ms or 0.0) / 1000, u)
        )
        if short and self.short == "refuse":
            raise VideoError(
                f"{len(timestamps)} frames are shorter than the clip's span (sampling.short=repeat would take it)"
            )
        if short and self.short == "stretch":
            places = np.rint(np.linspace(0, len(timestamps) - 1, clip.frames)).astype(np.int64)
        return Sampled(timestamps[places], short)


def by_stride(available: int, frames: int, stride: int, u: float | Literal["centre"]) -> tuple[np.ndarray, bool]:
    """Places `stride` apart. Every first place is as likely as any other."""
    spare = available - ((frames - 1) * stride + 1)
    first = 0 if spare < 0 else spare // 2 if u == "centre" else min(int(u * (spare + 1)), spare)
    return np.minimum(first + stride * np.arange(frames), available - 1), spare < 0


def by_time(
    timestamps: Float64[np.ndarray, "all"], frames: int, step: float, u: float | Literal["centre"]
) -> tuple[np.ndarray, bool]:
    """Places of the frames that are shown at times `step` apart."""
    spare = float(timestamps[-1] - timestamps[0]) - (frames - 1) * step
    first = timestamps[0] + max(spare, 0.0) * (0.5 if u == "centre" else u)
    moments = first + step * np.arange(frames)
    return np.maximum(np.searchsorted(timestamps, moments + 1e-6, side="right") - 1, 0), spare < -1e-6
