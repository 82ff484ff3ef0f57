"""Block: V-JEPA's multi-block mask (arXiv 2404.08471, section 3.2), with an exact count.

Blocks of random shape and place span all time steps; their union is what is hidden. Its size is random, so it is filled
or trimmed to the count by distance to the nearest block edge. Invariant: hidden positions do not move, and with a
budget of exactly the union's size the union is what is hidden.
"""

from typing import ClassVar

import chz
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.maskers.base import Per, Share
from tubelet.maskers.boxes import distance_inside
from tubelet.seeds import uniform
from tubelet.types import Batch, Clip


@chz.chz
class Block(Share):
    per: ClassVar[Per] = "position"
    ratio: float = chz.field(
        default=0.75, doc="share of the positions that is hidden, in every time step the same ones"
    )
    blocks: int = chz.field(default=8, doc="number of blocks (V-JEPA: 8 short-range, 2 long-range)")
    scale: float = chz.field(default=0.15, doc="share of the positions that one block covers (V-JEPA: .15, .7)")
    smallest_aspect: float = chz.field(default=0.75, doc="smallest height over width of a block")
    largest_aspect: float = chz.field(default=1.5, doc="largest height over width of a block")

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        """Distance in positions to the nearest block edge, positive inside the union of the blocks."""
        time_steps, rows, columns = clip.grid
        draw = uniform(key, 3 * self.blocks).unflatten(1, (3, self.blocks))  # b 3 blocks
        aspect = self.smallest_aspect + (self.largest_aspect - self.smallest_aspect) * draw[:, 0]
        area = self.scale * rows * columns
        height = (area * aspect).sqrt().round().clamp(1, rows)
        width = (area / aspect).sqrt().round().clamp(1, columns)
        top = (draw[:, 1] * (rows - height + 1)).floor()
        left = (draw[:, 2] * (columns - width + 1)).floor()
        distance = distance_inside(top, left, height, width, rows, columns).amax(1)  # b rows columns
        return distance.flatten(1).repeat(1, time_steps)
