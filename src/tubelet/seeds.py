"""All randomness is a function of a key: (seed, purpose, numbers).

A key is one 64-bit integer. `key` makes it on the host; `fold` and `uniform` work on a vector of keys, one per
clip, in plain integer arithmetic (SplitMix64: Steele, Lea and Flood, OOPSLA 2014). So a draw is the same on any
device, in any batch, on any rank and with any number of loader workers, and there is no state to save.
"""

import hashlib

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
WORD = (1 << 64) - 1
LARGEST = 1 - 2.0**-24  # below 1 in float32: the last of the draws, which has no half of its own there, would round up


def key(seed: int, purpose: str, *numbers: int) -> int:
    """The key of one draw: the same arguments give the same key, any other arguments another (63 bits)."""
    text = repr((seed, purpose, *numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A NumPy generator for this key, for host code that draws many numbers of different kinds."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose, *numbers)))


def fold(keys: Int64[Tensor, "b"], purpose: str) -> Int64[Tensor, "b"]:
    """New keys for another purpose, one per clip."""
    return mix(keys ^ signed(key(0, purpose)))


def uniform(keys: Int64[Tensor, "b"], count: int) -> Float[Tensor, "b {count}"]:
    """`count` numbers in (0, 1) per clip, 24 bits each, the same on every device."""
    step = torch.arange(1, count + 1, device=keys.device) * signed(GOLDEN)
    bits = mix(keys[:, None] + step)
    return ((shift_right(bits, 40).float() + 0.5) * 2.0**-24).clamp(max=LARGEST)


def normal(keys: Int64[Tensor, "b"], count: int) -> Float[Tensor, "b {count}"]:
    """Standard normal noise (Box and Muller, 1958)."""
    radius, angle = uniform(keys, 2 * count).unflatten(1, (2, count)).unbind(1)
    return torch.sqrt(-2 * torch.log(radius)) * torch.cos(2 * torch.pi * angle)


def gumbel(keys: Int64[Tensor, "b"], count: int) -> Float[Tensor, "b {count}"]:
    """Standard Gumbel noise: logits plus this, sorted, is sampling without replacement."""
    return -torch.log(-torch.log(uniform(keys, count)))


def mix(words: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """SplitMix64's finaliser; int64 products wrap, which is what it wants."""
    words = (words ^ shift_right(words, 30)) * signed(MIX_1)
    words = (words ^ shift_right(words, 27)) * signed(MIX_2)
    return words ^ shift_right(words, 31)


def shift_right(words: Int64[Tensor, "*shape"], bits: int) -> Int64[Tensor, "*shape"]:
    """A logical shift: torch's own keeps the sign."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def signed(word: int) -> int:
    """The int64 with the same 64 bits."""
    word &= WORD
    return word - (1 << 64) if word >> 63 else word
