"""Shuffled: a decoder that gets the visible tokens out of order (VideoPrism, arXiv 2402.13217).

So a token must say itself what it shows and cannot be copied to where it stood. Read from the abstract; that a key of
the clip draws the order, and that evaluations shuffle too, is ours.
"""

import chz
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.models.decoder import Decoder
from tubelet.models.patches import gather
from tubelet.seeds import fold, uniform


@chz.chz
class Shuffled(Decoder):
    def arrange(self, tokens: Float[Tensor, "b k d"], keys: Int64[Tensor, "b"]) -> Float[Tensor, "b k d"]:
        return gather(tokens, order(keys, tokens.shape[1]))


def order(keys: Int64[Tensor, "b"], count: int) -> Int64[Tensor, "b {count}"]:
    """A permutation of so many tokens for each clip."""
    return uniform(fold(keys, "order of tokens"), count).argsort(dim=1, stable=True)
