"""A codebook: tokens become numbers of the nearest of some vectors (VQ-VAE, arXiv 1711.00937)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.models.blocks import initialise

UNIT = 2.0**24  # tokens are summed as whole numbers of this part, so that the sum is the same in any order


class Codebook(nn.Module):
    """Codes of length 1, which follow the tokens that are nearest to them. They take no gradient."""

    def __init__(self, tokens: int, size: int, width: int):
        super().__init__()
        self.into = nn.Linear(tokens, width)
        initialise(self.into)
        self.codes: Tensor
        self.idle: Tensor
        self.counts: Tensor
        self.sums: Tensor
        self.register_buffer("codes", F.normalize(torch.randn(size, width), dim=-1))
        self.register_buffer("idle", torch.zeros(size, dtype=torch.int64))  # steps since a token was nearest to it
        self.register_buffer("counts", torch.zeros(size, dtype=torch.int64), persistent=False)
        self.register_buffer("sums", torch.zeros(size, width, dtype=torch.int64), persistent=False)
        self.spare: Tensor | None = None  # tokens that codes which are not in use may become

    def forward(self, tokens: Float[Tensor, "b k d"]) -> tuple[Float[Tensor, "b k w"], Int64[Tensor, "b k"]]:
        """The tokens in the space of the codes, at length 1, and the numbers of the codes nearest to them."""
        with torch.autocast(tokens.device.type, enabled=False):
            rows = F.normalize(self.into(tokens.float()), dim=-1)
            return rows, (rows.detach() @ self.codes.T).argmax(-1)

    @torch.no_grad()
    def count(self, rows: Float[Tensor, "r w"], numbers: Int64[Tensor, "r"], spare: Float[Tensor, "s w"]) -> None:
        """Remembers, until `follow`, tokens of all ranks."""
        self.counts.index_add_(0, numbers, torch.ones_like(numbers))
        self.sums.index_add_(0, numbers, (rows.float() * UNIT).round().long())
        self.spare = spare

    @torch.no_grad()
    def follow(self, decay: float, patience: int) -> None:
        """Moves every code that was nearest to a token since the last time towards their mean. Those that have been
        idle for `patience` steps become spare tokens, as far as there are any. Where nothing was counted nothing moves.
        """
        if self.spare is None:
            return
        used = self.counts > 0
        means = F.normalize(self.sums.double(), dim=-1).to(self.codes)
        moved = F.normalize(self.codes.lerp(means, 1 - decay), dim=-1)
        self.codes = torch.where(used[:, None], moved, self.codes)
        self.idle = torch.where(used, 0, self.idle + 1)
        dead = self.idle >= patience
        place = dead.cumsum(0) - 1  # among the dead
        restarted = dead & (place < len(self.spare))
        self.codes = torch.where(restarted[:, None], self.spare[place.clamp(0, len(self.spare) - 1)], self.codes)
        self.idle = torch.where(restarted, 0, self.idle)
        self.counts.zero_()
        self.sums.zero_()
        self.spare = None
