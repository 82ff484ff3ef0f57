"""What one video shows, for worker processes: whether it is black, stands still, is blurred, and where it is cut.

Frames are looked at eight times a second, at the size that a model reads. It imports nothing heavy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from tubelet.corpus.schema import Video
from tubelet.errors import VideoError
from tubelet.saliency_maps.frames import decode_piece, pieces

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # in which no trace of halved colour planes is left
ABOUT = 3  # changes before and after that a cut is compared with
CUTS = 64  # of one video that are kept


@dataclass(frozen=True)
class How:
    """How videos are looked at; other values make other findings."""

    version: int = 1
    rate: float = 8.0  # frames a second
    side: int = 224  # pixels of their short side
    small: int = 32  # pixels, both ways, at which frames are compared
    dark: float = 20.0  # of 255: a frame whose brightest hundredth is darker is black
    still: float = 3.0  # difference of 255 in the cell that changes most, below which nothing has changed
    cut: float = 10.0  # mean difference of 255 from which on a change may be a cut
    sudden: float = 3.0  # times the mean change about it


HOW = How()


@dataclass(frozen=True)
class Look:
    """Shares are of the frames that were looked at, or of the steps between them."""

    frames: int
    black: float
    still: float
    sharpness: float  # the share of fine detail in what the frames show, the median; 0 is flat
    cuts: tuple[float, ...]  # seconds

    @property
    def parts(self) -> dict[str, Float64[np.ndarray, "_"]]:
        """As arrays of fixed sizes, for a table."""
        cuts = np.full(CUTS, np.nan)
        cuts[: len(self.cuts)] = self.cuts[:CUTS]
        return {"shares": np.array([self.frames, self.black, self.still, self.sharpness]), "cuts": cuts}

    @classmethod
    def parse(cls, parts: Mapping[str, np.ndarray]) -> "Look":
        frames, black, still, sharpness = parts["shares"].tolist()
        cuts = parts["cuts"][~np.isnan(parts["cuts"])]
        return cls(int(frames), black, still, sharpness, tuple(cuts.tolist()))


def look(video: Video) -> Look:
    """What a video shows."""
    changes: list[float] = []
    moments: list[float] = []
    dark, sharp, still = [], [], []
    before: np.ndarray | None = None
    for frame, moment in frames_of(video):
        reduced = resized(frame)
        grey = reduced.astype(np.float32) @ LUMA
        dark.append(np.percentile(grey, 99) < HOW.dark)
        sharp.append(sharpness(grey))
        small = np.asarray(Image.fromarray(frame).resize((HOW.small, HOW.small), Image.Resampling.BOX)).astype(
            np.float32
        )
        if before is not None:
            change = np.abs(small - before).mean(-1)
            changes.append(float(change.mean()))
            still.append(change.max() < HOW.still)
        before = small
        moments.append(moment)
    if not moments:
        raise VideoError("no frame can be decoded")
    share = float(np.mean(still)) if still else 0.0
    return Look(len(moments), float(np.mean(dark)), share, float(np.median(sharp)), cuts(changes, moments))


def frames_of(video: Video) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], float]]:
    for piece in pieces(video, HOW.rate):
        frames, times = decode_piece(piece)
        yield from zip(frames, times.tolist(), strict=True)


def resized(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "y x 3"]:
    height, width = frame.shape[:2]
    scale = min(HOW.side / min(height, width), 1.0)
    size = max(round(scale * width), 1), max(round(scale * height), 1)
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def sharpness(grey: np.ndarray) -> float:
    """The variance of the Laplacian over that of the picture: large where edges are hard, whatever the contrast."""
    inner = grey[1:-1, 1:-1]
    if not inner.size or (contrast := float(grey.var())) < 1.0:
        return 0.0
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.var()) / contrast


def cuts(changes: list[float], moments: list[float]) -> tuple[float, ...]:
    """When one shot ends and another begins: a change that is large, and sudden beside the few before and after it."""
    values = np.array(changes)
    found = []
    for index in np.flatnonzero(values >= HOW.cut):
        before, after = values[max(index - ABOUT, 0) : index], values[index + 1 : index + 1 + ABOUT]
        about = np.concatenate([before, after])
        largest = values[index] > max(before, default=0.0) and values[index] >= max(after, default=0.0)
        if largest and values[index] >= HOW.sudden * (float(about.mean()) if about.size else 0.0):
            found.append(moments[index + 1])
    return tuple(found)
