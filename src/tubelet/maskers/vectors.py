"""What maskers that look at motion share: a vector map on the grid of positions, and how strongly each moves."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tubelet.types import Clip

Compensate = Literal["none", "median"]


def in_positions(vectors: Float[Tensor, "b t rows columns 2"]) -> Float[Tensor, "b t rows columns 2"]:
    """What a vector map gives, shares of the crop from each frame to the next, as positions (dx, dy)."""
    rows, columns = vectors.shape[2:4]
    return torch.stack([vectors[..., 0] * columns, vectors[..., 1] * rows], dim=-1)


def per_time_step(
    vectors: Float[Tensor, "b t rows columns 2"], clip: Clip
) -> Float[Tensor, "b time_steps rows columns 2"]:
    """The same in positions, the mean over each time step's frames."""
    return in_positions(vectors).unflatten(1, (clip.grid[0], -1)).mean(2)


def speed(
    vectors: Float[Tensor, "*b rows columns 2"], compensate: Compensate = "none"
) -> Float[Tensor, "*b rows columns"]:
    """The length of each vector; with "median" of its difference from the median over all positions (the camera's)."""
    if compensate == "median":
        vectors = vectors - vectors.flatten(-3, -2).median(dim=-2).values[..., None, None, :]
    return torch.hypot(vectors[..., 0], vectors[..., 1])
