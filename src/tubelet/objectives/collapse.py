"""Whether all clips look alike to an encoder, or to a head, which an objective over its own outputs can make them do;
and whether all tokens have one code.

An encoder may tell clips apart while the embeddings that a loss compares have all become one: then there is nothing
left to learn. So NAME is the encoder, NAME.output what the objective's head makes of clips, NAME.target what it is
compared with. Of the mean vectors of the clips of a step, at length 1: NAME.rank is their effective rank, exp of the
entropy of the singular values (RankMe, arXiv 2210.02885), from 1 where all are one; NAME.std is the mean deviation of
a value from clip to clip, times the root of the width, from 0 where all are one to about 1 where they point in all
directions. Of a codebook NAME.perplexity is exp of the entropy of a step's codes, from 1 where all are one.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tubelet.objectives.gather import Ranks

LEAST_RANK = 1.5
LEAST_STD = {"": 0.05, "output": 0.15, "target": 0.15}  # of heads: a mean cosine of two clips above .98
WHOSE = {"": "the encoder", "output": "its own output", "target": "its target"}
LEAST_PERPLEXITY = 2.0  # of codes: less than one bit a token
LEAST_CLIPS = 8  # of a step, below which nothing is concluded
LEAST_RECORDS = 3  # of the log, in a row
LEAST_STEPS = 50  # from the first to the last of them, of a codebook: idle codes start anew on the way
MOST_CLIPS = 256  # of a step, that are looked at


@torch.no_grad()
def spread_of(
    tokens: Float[Tensor, "b k d"] | Float[Tensor, "b d"], ranks: Ranks, name: str
) -> dict[str, Float[Tensor, ""]]:
    """NAME.rank and NAME.std of the clips of all ranks, for the log."""
    tokens = tokens if tokens.ndim == 3 else tokens[:, None]
    rows = ranks.gather(F.normalize(tokens.float().mean(1), dim=-1))[:MOST_CLIPS]
    values = torch.linalg.svdvals(rows)
    shares = values / values.sum()
    rank = torch.special.entr(shares).sum().exp()
    std = rows.std(0, unbiased=False).mean() * rows.shape[1] ** 0.5
    return {f"{name}.rank": rank, f"{name}.std": std}


def collapsed(record: Mapping[str, object]) -> dict[str, str]:
    """By its name, a sentence for each objective in a record of the log to which, or to whose encoder, all clips are
    alike, or all tokens."""
    found = {}
    for term, value in record.items():
        if term.endswith(".perplexity") and isinstance(value, float) and value < LEAST_PERPLEXITY:
            objective = term.partition(".")[0]
            found[term] = (
                f"objectives.{objective}: nearly all tokens have one code (perplexity {value:.2f}, below "
                f"{LEAST_PERPLEXITY:g}): its codebook has collapsed; lower optim.base_lr, or let idle codes start anew "
                f"sooner by objectives.{objective}.patience"
            )
        name = term.removesuffix(".rank")
        rank, std = record.get(f"{name}.rank"), record.get(f"{name}.std")
        if term == name or not isinstance(rank, float) or not isinstance(std, float):
            continue
        objective, _, part = name.partition(".")
        least = LEAST_STD[part]
        if rank < LEAST_RANK or std < least:
            found[name] = (
                f"objectives.{objective}: {WHOSE[part]} says nearly the same of every clip (effective rank {rank:.2f}, "
                f"below {LEAST_RANK} or standard deviation {std:.3f}, below {least}): it has collapsed; lower "
                "optim.base_lr, add negatives or a target that cannot collapse, as objectives.pixels=Pixels"
            )
    return found
