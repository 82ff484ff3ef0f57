"""A video of which every frame is another: what the files of these tests show."""

import numpy as np
from jaxtyping import UInt8

FRAMES, HEIGHT, WIDTH, FPS = 20, 40, 48, 10


def moving(count: int, height: int, width: int, shade: int = 0) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames that can be told apart after compression: a bright bar walks over a slope, one step a frame."""
    y, x = np.mgrid[:height, :width]
    slope = np.stack([80 + x, 60 + y, np.full_like(x, 90 + shade)], axis=-1).astype(np.uint8)
    frames = np.repeat(slope[None], count, axis=0)
    for index in range(count):
        at = (index * 2) % (width - 4)
        frames[index, :, at : at + 4] = 250
        frames[index, : height // 4] = 20 + (index * 9) % 200
    return frames
