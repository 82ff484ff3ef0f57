"""Whether an encoder says the same of every clip, which an objective over its own outputs can make it do.

Of the mean tokens of the clips of a step, at length 1: NAME.rank is their effective rank, exp of the entropy of the
singular values (RankMe, arXiv 2210.02885), from 1 where all are one; NAME.std is the mean deviation of a value from
clip to clip, times the root of the width, from 0 where all are one to about 1 where they point in all directions.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tubelet.objectives.gather import Ranks

LEAST_RANK = 1.5
LEAST_STD = 0.05
LEAST_CLIPS = 8  # of a step, below which nothing is concluded
MOST_CLIPS = 256  # of a step, that are looked at


@torch.no_grad()
def spread_of(tokens: Float[Tensor, "b k d"], ranks: Ranks, name: str) -> dict[str, Float[Tensor, ""]]:
    """NAME.rank and NAME.std of the clips of all ranks, for the log."""
    rows = ranks.gather(F.normalize(tokens.float().mean(1), dim=-1))[:MOST_CLIPS]
    values = torch.linalg.svdvals(rows)
    shares = values / values.sum()
    rank = torch.special.entr(shares).sum().exp()
    std = rows.std(0, unbiased=False).mean() * rows.shape[1] ** 0.5
    return {f"{name}.rank": rank, f"{name}.std": std}


def collapsed(record: Mapping[str, object]) -> dict[str, str]:
    """By its name, a sentence for each objective in a record of the log whose clips are told apart no more."""
    found = {}
    for term in record:
        name = term.removesuffix(".rank")
        rank, std = record.get(f"{name}.rank"), record.get(f"{name}.std")
        if term == name or not isinstance(rank, float) or not isinstance(std, float):
            continue
        if rank < LEAST_RANK or std < LEAST_STD:
            found[name] = (
                f"objectives.{name}: the encoder says nearly the same of every clip (effective rank {rank:.2f}, below "
                f"{LEAST_RANK} or standard deviation {std:.3f}, below {LEAST_STD}): it has collapsed; lower "
                "optim.base_lr, add negatives or a target that cannot collapse, as objectives.pixels=Pixels"
            )
    return found
