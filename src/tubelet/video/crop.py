"""A rectangle of a frame, the same for all frames of a clip, in shares of the full frame.

The same `Crop` moves the frames and the saliency maps, so they cannot drift apart.
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Crop:
    """A rectangle in shares of the full frame, upright; `flip` mirrors what it shows, left to right."""

    top: float
    left: float
    height: float
    width: float
    flip: bool = False

    @classmethod
    def centre(cls, height: int, width: int) -> "Crop":
        """The largest square in the middle of a frame of so many pixels."""
        return cls.along(height, width, 0.5)

    @classmethod
    def along(cls, height: int, width: int, index: float) -> "Crop":
        """The largest square, at this share of the way along the longer side: 0 is top or left, .5 the middle."""
        side = min(height, width)
        return cls.of_pixels(int(index * (height - side)), int(index * (width - side)), side, side, height, width)

    @classmethod
    def of_pixels(
        cls, top: int, left: int, rows: int, columns: int, height: int, width: int, flip: bool = False
    ) -> "Crop":
        return cls(top / height, left / width, rows / height, columns / width, flip)

    def cut(self, frames: UInt8[np.ndarray, "*t h w c"]) -> UInt8[np.ndarray, "*t rows columns c"]:
        """What the crop shows of a frame or of several, mirrored where it flips; a view."""
        top, left, rows, columns = self.pixels(frames.shape[-3], frames.shape[-2])
        inside = frames[..., top : top + rows, left : left + columns, :]
        return inside[..., ::-1, :] if self.flip else inside

    def inside(self, other: "Crop") -> "Crop":
        """This crop of what the other one shows, in shares of the full frame."""
        left = 1 - self.left - self.width if other.flip else self.left
        return Crop(
            other.top + self.top * other.height,
            other.left + left * other.width,
            self.height * other.height,
            self.width * other.width,
            self.flip != other.flip,
        )

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, rows, columns) in a frame of so many pixels; at least one pixel, inside the frame."""
        rows = min(max(round(self.height * height), 1), height)
        columns = min(max(round(self.width * width), 1), width)
        top = min(round(self.top * height), height - rows)
        left = min(round(self.left * width), width - columns)
        return top, left, rows, columns


def crop_frames(frames: UInt8[np.ndarray, "t h w 3"], crop: Crop, size: int) -> UInt8[Tensor, "3 t {size} {size}"]:
    """What the crop shows, resized with antialiasing. uint8 in, uint8 out; the frames stay as the decoder lays them."""
    return resize(crop.cut(frames), size, size)


def resize(frames: UInt8[np.ndarray, "t h w 3"], rows: int, columns: int) -> UInt8[Tensor, "3 t {rows} {columns}"]:
    """Bilinear with antialiasing, on bytes."""
    inside = torch.from_numpy(np.ascontiguousarray(frames))
    if frames.shape[1:3] != (rows, columns):
        planes = inside.permute(0, 3, 1, 2)  # a view: channels last, as the uint8 kernel wants them
        planes = functional.interpolate(planes, size=(rows, columns), mode="bilinear", antialias=True)
        return planes.transpose(0, 1).contiguous()
    return rearrange(inside, "t h w c -> c t h w").contiguous()
