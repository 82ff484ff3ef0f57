"""Motion: a box that starts where the codec saw most motion and moves with it (MGM, arXiv 2308.12962).

A named reconstruction: the paper's abstract says that motion vectors of the compressed file guide the position of the
mask over time; size, start and the rest are not public to us, so each is a parameter. Invariant: every time step hides
int(ratio * positions) tubelets; a box in a field that is everywhere the same moves by exactly that vector until it
meets the border, and without motion the mask is a tube.
"""

from typing import ClassVar, Literal

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from tubelet.errors import RecipeError
from tubelet.maskers.base import Share
from tubelet.maskers.boxes import distance_inside
from tubelet.maskers.vectors import Compensate, per_time_step, speed
from tubelet.types import Batch, Clip


@chz.chz
class Motion(Share):
    needs: ClassVar[tuple[str, ...]] = ("motion",)

    ratio: float = chz.field(default=0.75, doc="share of every time step's tubelets that is hidden")
    box: float | None = chz.field(
        default=None,
        doc="share of the positions that the box covers (the ratio); the count is then met by distance to its edge",
    )
    aspect: float = chz.field(default=1.0, doc="height of the box over its width, relative to the frame's")
    start: Literal["first", "clip"] = chz.field(
        default="first",
        doc="the box starts where motion is strongest in the first time step, or on average of all time steps",
    )
    compensate: Compensate = chz.field(
        default="none",
        doc="median: motion is strong where it differs from the time step's median, which is the camera's",
    )

    @chz.validate
    def _box(self) -> None:
        if self.box is not None and not 0 < self.box <= 1:
            raise RecipeError(f"masker.box={self.box:g} must be a share of the positions, above 0 and at most 1")
        if not self.aspect > 0:
            raise RecipeError(f"masker.aspect={self.aspect:g} must be positive")

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        """Distance in positions to the edge of the time step's box, positive inside."""
        time_steps, rows, columns = clip.grid
        height, width = self.size(clip)
        vectors = per_time_step(batch.maps["motion"], clip)  # b time_steps rows columns 2
        strong = speed(vectors, self.compensate)
        strong = strong[:, 0] if self.start == "first" else strong.mean(1)
        filtered = functional.avg_pool2d(strong[:, None], (height, width), stride=1)[:, 0]  # b tops lefts
        tops, lefts = filtered.shape[1:]
        best = filtered.flatten(1).argmax(1)
        corner = torch.stack([best.remainder(lefts), best.div(lefts, rounding_mode="floor")], dim=1).float()  # left top
        last = torch.stack([torch.full_like(corner[:, 0], lefts - 1), torch.full_like(corner[:, 0], tops - 1)], dim=1)
        # means over boxes at whole positions; between them the mean over a box is linear
        means = functional.avg_pool2d(vectors.movedim(-1, 2).flatten(0, 1), (height, width), stride=1)
        means = means.unflatten(0, (-1, time_steps)) * clip.tubelet_frames  # b time_steps 2 tops lefts
        scale = 2 / last.clamp(min=1)
        corners = [corner]
        for time_step in range(time_steps - 1):
            where = (corner * scale - 1)[:, None, None]
            step = functional.grid_sample(means[:, time_step], where, "bilinear", "border", align_corners=True)
            corner = torch.minimum((corner + step.flatten(1)).clamp(min=0), last)
            corners.append(corner)
        left, top = torch.stack(corners, 1).unbind(-1)  # b time_steps
        sizes = torch.full_like(top, height), torch.full_like(top, width)
        return distance_inside(top, left, *sizes, rows, columns).flatten(1)

    def size(self, clip: Clip) -> tuple[int, int]:
        """Height and width of the box in positions."""
        _, rows, columns = clip.grid
        side = (self.box or self.ratio) ** 0.5
        return (
            min(max(round(rows * side * self.aspect**0.5), 1), rows),
            min(max(round(columns * side / self.aspect**0.5), 1), columns),
        )
