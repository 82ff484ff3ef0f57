"""Decode masks: of the hidden tubelets, those that are reconstructed (dual masking, VideoMAE V2, arXiv 2303.16727).

They lie on top of any encoder mask and make the decoder cheaper; what is not decoded costs nothing and teaches nothing.
Invariant: exactly as many for every clip, under whichever encoder mask; and `RunningCell` at a share of a half, on a
grid of even sides that is hidden whole, decodes every position exactly twice in any 4 time steps.
"""

import chz
import torch
from jaxtyping import Int64
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.maskers.base import Decode
from tubelet.seeds import uniform
from tubelet.types import Clip, floor_share, split_top


@chz.chz
class All(Decode):
    """Every hidden tubelet (VideoMAE, arXiv 2203.12602)."""

    def count(self, hidden: int) -> int:
        return hidden

    def __call__(self, hidden: Int64[Tensor, "b m"], clip: Clip, key: Int64[Tensor, "b"]) -> Int64[Tensor, "b q"]:
        return hidden


@chz.chz
class RunningCell(Decode):
    """In each cell of 2x2 positions the decoded move on with every time step (VideoMAE V2, arXiv 2303.16727).

    Read row by row they move back by one, as in the patterns of its code. Each clip has a start of its own. Every
    tubelet has one of four phases; the hidden ones are taken phase by phase, and within the last phase that is needed
    by chance, until int(share * m) are found.
    """

    share: float = chz.field(default=0.5, doc="share of the hidden tubelets that is reconstructed")

    @chz.validate
    def _sensible(self) -> None:
        if not 0 < self.share <= 1:
            raise RecipeError(f"decode.share={self.share} must be above 0 and at most 1")

    def count(self, hidden: int) -> int:
        count = floor_share(hidden, self.share)
        if count < 1:
            raise RecipeError(f"decode.share={self.share} leaves none of {hidden} hidden tubelets; take a larger share")
        return count

    def __call__(self, hidden: Int64[Tensor, "b m"], clip: Clip, key: Int64[Tensor, "b"]) -> Int64[Tensor, "b q"]:
        noise = uniform(key, clip.num_tubelets + 1)  # b n+1
        start = (4 * noise[:, -1:]).floor()
        phase = (phases(clip, key.device) + start) % 4
        order = (phase + 0.5 * noise[:, :-1]).gather(1, hidden)
        chosen, _ = split_top(-order, self.count(hidden.shape[1]))
        return hidden.gather(1, chosen)


def phases(clip: Clip, device: torch.device) -> Int64[Tensor, "n"]:
    """0 to 3, row by row within each cell of 2x2 positions, and one more in every next time step."""
    time_steps, rows, columns = clip.grid
    time_step = torch.arange(time_steps, device=device)[:, None, None]
    down = torch.arange(rows, device=device)[:, None] % 2
    across = torch.arange(columns, device=device) % 2
    return ((2 * down + across + time_step) % 4).flatten()
