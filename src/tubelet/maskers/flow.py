"""Flow: the same pieces of the scene stay visible in every time step (MGMAE, arXiv 2308.10794).

Gaussians about random positions of the middle frame are carried to the other frames by optical flow, one frame at a
time; the positions where they are strongest stay visible, time step by time step. Each position looks up where its
content was (a backward warp), and of several positions that it may have come from, or gone to, takes the one that moves
most like it: so a mixed border between two motions does not spread. Where nothing leads, out of the frame or behind
what moved away, the middle frame's own map fills the hole, and of equals what was carried goes first. Gaussians are
read at the centres of the positions. Invariant: under motion by whole positions visible tubelets follow what they show;
without motion the mask is a tube.
"""

from typing import ClassVar

import chz
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from tubelet.errors import RecipeError
from tubelet.maskers.base import Masker
from tubelet.maskers.vectors import in_positions
from tubelet.seeds import uniform
from tubelet.types import Batch, Budget, Clip, floor_share

NEAR = 0.5 + 1e-3  # positions: what lands within this of a position's centre came to it
FILLED = 1e-3  # share that the filling of a hole is worth less than what was carried


@chz.chz
class Flow(Masker):
    needs: ClassVar[tuple[str, ...]] = ("flow",)

    ratio: float = chz.field(default=0.9, doc="share of every time step's tubelets that is hidden")
    centres: int | None = chz.field(
        default=None, doc="Gaussians on the middle frame (as many as tubelets stay visible in a time step: 20 of 14x14)"
    )
    width: float = chz.field(default=1.0, doc="a Gaussian is exp(-(distance / width)^2), in positions (16 pixels)")
    official_count: bool = chz.field(
        default=False, doc="floor the visible count, as the paper's engine does: 19 of 14x14 stay visible, not 20"
    )

    @chz.validate
    def _positive(self) -> None:
        if self.centres is not None and self.centres < 1:
            raise RecipeError(f"masker.centres={self.centres} must be at least 1")
        if not self.width > 0:
            raise RecipeError(f"masker.width={self.width:g} must be positive")

    def budget(self, clip: Clip) -> Budget:
        visible = floor_share(clip.num_positions, 1 - self.ratio)
        hidden = floor_share(clip.num_positions, self.ratio)
        return Budget(clip.num_positions - visible if self.official_count else hidden, "time_step", clip.grid)

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        """Minus the Gaussians carried to each position, summed over the time step's frames."""
        _, rows, columns = clip.grid
        middle = clip.frames // 2
        flow = in_positions(batch.maps["flow"])  # b t rows columns 2
        here = centres_of(rows, columns, key.device)
        gaussians = self.gaussians(clip, key)  # b k 2
        came, come_from, went, gone_to = partners(flow[:, :-1], flow[:, 1:], here)
        moves = functional.pad(flow.flatten(2, 3), (0, 1))  # b t n 3: across, down, and whether it filled a hole
        lead, hole = torch.zeros_like(moves[:, 0]), moves.new_tensor([0.0, 0.0, 1.0])
        leads = [lead]  # from each position to where its content was on the middle frame
        for frame in range(middle, clip.frames - 1):  # outwards, forwards in time
            source = come_from[:, frame, :, None]
            step = torch.take_along_dim(lead - moves[:, frame], source, dim=1)
            lead = torch.where(came[:, frame, :, None], step, hole)
            leads.append(lead)
        lead = leads[0]
        for frame in range(middle - 1, -1, -1):  # and backwards
            step = moves[:, frame] + torch.take_along_dim(lead, gone_to[:, frame, :, None], dim=1)
            lead = torch.where(went[:, frame, :, None], step, hole)
            leads.insert(0, lead)
        across_down, filled = torch.stack(leads, 1).flatten(1, 2).split([2, 1], dim=2)  # b t*n 2, b t*n 1
        origins = across_down + here.flatten(0, 1).repeat(clip.frames, 1)
        squared = (origins[:, :, None] - gaussians[:, None]).square().sum(-1).amin(2)  # b t*n
        carried = torch.exp(-squared / self.width**2) * (1 - FILLED * filled[..., 0])
        return -carried.unflatten(1, (clip.grid[0], clip.tubelet_frames, -1)).sum(2).flatten(1)

    def gaussians(self, clip: Clip, key: Int64[Tensor, "b"]) -> Float[Tensor, "b k 2"]:
        """Centres of distinct positions (x, y), in positions."""
        visible = clip.num_positions - self.budget(clip).hidden
        count = min(self.centres or visible + self.official_count, clip.num_positions)
        chosen = uniform(key, clip.num_positions).argsort(dim=1, stable=True)[:, :count]
        columns = clip.grid[2]
        across, down = chosen.remainder(columns), chosen.div(columns, rounding_mode="floor")
        return torch.stack([across, down], dim=-1).float() + 0.5


def centres_of(rows: int, columns: int, device: torch.device) -> Float[Tensor, "{rows} {columns} 2"]:
    y = torch.arange(rows, device=device).float()[:, None].expand(rows, columns)
    x = torch.arange(columns, device=device).float().expand(rows, columns)
    return torch.stack([x, y], dim=-1) + 0.5


Found = Bool[Tensor, "b t n"]
Places = Int64[Tensor, "b t n"]


def partners(
    flow: Float[Tensor, "b t rows columns 2"],
    after: Float[Tensor, "b t rows columns 2"],
    here: Float[Tensor, "rows columns 2"],
) -> tuple[Found, Places, Found, Places]:
    """Between each frame and the next: whether anything came to a position of the next, and from which position;
    whether the content of a position of the frame is still to be seen, and at which position.

    What lands within half a position of a centre comes to it; of several, that whose motion differs least before and
    after. What loses its position to something of another motion is covered by it.
    """
    rows, columns = here.shape[:2]
    landed = (here + flow).flatten(2, 3)[..., None, :] - 0.5  # b t n 1 2, a whole number on a centre
    four = torch.arange(4, device=flow.device)
    centre = landed.floor() + torch.stack([four.remainder(2), four.div(2, rounding_mode="floor")], dim=-1)  # b t n 4 2
    miss = (landed - centre).abs().amax(-1)
    across, down = centre.unbind(-1)
    near = (miss <= NEAR) & (across >= 0) & (across < columns) & (down >= 0) & (down < rows)
    position = (down.clamp(0, rows - 1) * columns + across.clamp(0, columns - 1)).long()
    later = after.flatten(2, 3).gather(2, position.flatten(2)[..., None].expand(-1, -1, -1, 2)).unflatten(2, (-1, 4))
    change = (later - flow.flatten(2, 3)[..., None, :]).abs().sum(-1)
    cost = (change + 0.1 * miss).clamp(max=1000.0).masked_fill(~near, 2000.0)
    own = torch.arange(rows * columns, device=flow.device)[:, None]
    ranked = (cost * 65536).long() * (rows * columns) + own  # one number: the cost, and whose
    nothing = torch.full(flow.shape[:2] + own.shape[:1], 1 << 40, device=flow.device)
    best = nothing.scatter_reduce(2, position.flatten(2), ranked.masked_fill(~near, 1 << 40).flatten(2), "amin")
    come_from = best.remainder(rows * columns)
    chosen = cost.argmin(3, keepdim=True)
    gone_to, differs = (some.gather(3, chosen)[..., 0] for some in (position, change))
    covered = (come_from.gather(2, gone_to) != own[:, 0]) & (differs > NEAR)
    return best < 1 << 40, come_from, near.any(3) & ~covered, gone_to
