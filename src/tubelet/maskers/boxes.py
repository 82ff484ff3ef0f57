"""Boxes on the grid of positions: how far every position lies inside or outside of one."""

import torch
from jaxtyping import Float
from torch import Tensor


def distance_inside(
    top: Float[Tensor, "*b"],
    left: Float[Tensor, "*b"],
    height: Float[Tensor, "*b"],
    width: Float[Tensor, "*b"],
    rows: int,
    columns: int,
) -> Float[Tensor, "*b {rows} {columns}"]:
    """Distance in positions from each position's centre to the nearest edge of the box: positive inside, negative
    outside."""
    top, left, height, width = (side[..., None, None] for side in (top, left, height, width))
    row = torch.arange(rows, device=top.device).float()[:, None] + 0.5
    column = torch.arange(columns, device=top.device).float() + 0.5
    down = torch.minimum(row - top, top + height - row)  # *b rows 1
    across = torch.minimum(column - left, left + width - column)  # *b 1 columns
    inside = torch.minimum(down, across)
    outside = torch.hypot(down.clamp(max=0), across.clamp(max=0))
    return torch.where(inside > 0, inside, -outside)
