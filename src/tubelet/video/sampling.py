"""The one place where the frames of a clip are chosen: true strides in source frames, true steps in time, or segments.

`Sampling` takes frames densely around a moment; `Segments` spreads them over the whole video, one from each of as many
equal parts (TSN, arXiv 1608.00859; what VideoMAE fine-tunes SSv2 with). Both move frames about in training where
`jitter` says so.
"""

import math
from dataclasses import dataclass
from typing import Literal

import chz
import numpy as np
from jaxtyping import Float64, Int64

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
    """Which frames of a video make a clip: one every so many frames, or milliseconds."""

    stride: int | None = chz.field(
        default=None, doc=f"step in source frames ({STRIDE} where step_ms is not given either)"
    )
    step_ms: float | None = chz.field(default=None, doc="step in milliseconds, whatever the frame rate")
    short: Literal["repeat", "stretch", "refuse"] = chz.field(
        default="repeat",
        doc="a source shorter than the span: repeat its last frame, spread over what is there, or refuse",
    )

    jitter: float = chz.field(
        default=0.0, doc="in training, each frame moves at random within this share of its step (1: all of it)"
    )

    @chz.validate
    def _one_step(self) -> None:
        if not 0 <= self.jitter <= 1:
            raise RecipeError(f"sampling.jitter={self.jitter:g} must be from 0 to 1")
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

    def times(
        self,
        timestamps: Float64[np.ndarray, "all"],
        clip: Clip,
        u: float | Literal["centre"],
        rng: np.random.Generator | None = None,
    ) -> Sampled:
        """The times of a clip's frames among these. `u` in [0, 1] says where the clip begins, `rng` what jitters."""
        if not timestamps.size:
            raise VideoError("the video has no frames")
        indices, short = self.indices(timestamps, clip.frames, u, rng if self.jitter else None)
        if short and self.short == "refuse":
            raise VideoError(
                f"{len(timestamps)} frames are shorter than the clip's span (sampling.short=repeat would take it)"
            )
        if short and self.short == "stretch":
            indices = np.rint(np.linspace(0, len(timestamps) - 1, clip.frames)).astype(np.int64)
        return Sampled(timestamps[indices], short)

    def indices(
        self,
        timestamps: Float64[np.ndarray, "all"],
        frames: int,
        u: float | Literal["centre"],
        rng: np.random.Generator | None,
    ) -> tuple[Int64[np.ndarray, "{frames}"], bool]:
        """Which of the source's frames, in order, and whether they are too few."""
        moved = np.zeros(frames) if rng is None else (rng.random(frames) - 0.5) * self.jitter
        if self.frames_apart is not None:
            return by_stride(len(timestamps), frames, self.frames_apart, u, moved)
        return by_time(timestamps, frames, (self.step_ms or 0.0) / 1000, u, moved)


@chz.chz
class Segments(Sampling):
    """One frame from each of as many equal parts of the video as the clip has frames.

    In training anywhere in its part; else in its middle, or all as far into theirs as the view is into the video. A
    video with fewer frames than the clip shows some of them several times.
    """

    jitter: float = chz.field(
        default=1.0, doc="in training, each frame is drawn at random from this share of its part (0: all alike)"
    )

    @chz.validate
    def _no_step(self) -> None:
        if self.stride is not None or self.step_ms is not None:
            raise RecipeError("sampling=Segments spreads frames over the whole video: leave out stride and step_ms")

    @property
    def frames_apart(self) -> int:
        """The least: a video needs as many frames as the clip."""
        return 1

    def seconds(self, clip: Clip, fps: float) -> float:
        """All of a video, however long."""
        return math.inf

    def indices(
        self,
        timestamps: Float64[np.ndarray, "all"],
        frames: int,
        u: float | Literal["centre"],
        rng: np.random.Generator | None,
    ) -> tuple[Int64[np.ndarray, "{frames}"], bool]:
        share = np.full(frames, 0.5 if u == "centre" else u)
        if rng is not None:
            share = (1 - self.jitter) * share + self.jitter * rng.random(frames)
        available = len(timestamps)
        indices = np.floor((np.arange(frames) + share) * available / frames).astype(np.int64)
        return np.minimum(indices, available - 1), available < frames


def by_stride(
    available: int, frames: int, stride: int, u: float | Literal["centre"], moved: Float64[np.ndarray, "{frames}"]
) -> tuple[Int64[np.ndarray, "{frames}"], bool]:
    """Places `stride` apart, moved by these shares of it. Every first place is as likely as any other."""
    spare = available - ((frames - 1) * stride + 1)
    first = 0 if spare < 0 else spare // 2 if u == "centre" else min(int(u * (spare + 1)), spare)
    indices = first + stride * np.arange(frames) + np.rint(moved * stride).astype(np.int64)
    return np.clip(indices, 0, available - 1), spare < 0


def by_time(
    timestamps: Float64[np.ndarray, "all"],
    frames: int,
    step: float,
    u: float | Literal["centre"],
    moved: Float64[np.ndarray, "{frames}"],
) -> tuple[Int64[np.ndarray, "{frames}"], bool]:
    """Places of the frames that are shown at times `step` apart, moved by these shares of it."""
    spare = float(timestamps[-1] - timestamps[0]) - (frames - 1) * step
    first = timestamps[0] + max(spare, 0.0) * (0.5 if u == "centre" else u)
    moments = first + step * (np.arange(frames) + moved)
    return np.maximum(np.searchsorted(timestamps, moments + 1e-6, side="right") - 1, 0), spare < -1e-6
