"""Softmax attention by whichever way is fastest here. Start reading at `attend`.

PyTorch's `scaled_dot_product_attention` is the way, but for its gradient in bf16 on a processor, which takes several
times as long as the products of which it consists. `TILED` says where they take its place.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tubelet.distributed import matrix_units

UNITS = matrix_units()
# Up to how many keys products are faster, by device, type and unit, forward and backward; what is not here has SDPA.
# Ratios to SDPA (docs/results/speed-of-recipes.md): with AMX 2.1 to 2.8 up to 632 keys, .7 at 1568; with AVX-512 alone
# 4 at 16 keys to 1.3 at 1568. In fp32 SDPA is as fast or faster at any length.
TILED = {("cpu", torch.bfloat16, "amx"): 1100, ("cpu", torch.bfloat16, "avx512_bf16"): 1568}
TILE = 1 << 20  # scores at a time: 2 MB, about what stays in the cache of a core
KEPT = 128  # keys up to which probabilities are kept for the gradient: about as many numbers as the tokens are


def attend(
    q: Float[Tensor, "b n h c"], k: Float[Tensor, "b j h c"], v: Float[Tensor, "b j h c"]
) -> Float[Tensor, "b n h c"]:
    """`softmax(q k / sqrt(c)) v`; in each head every query attends to every key."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if k.shape[2] <= TILED.get((q.device.type, q.dtype, UNITS), 0):
        return Tiled.apply(q, k, v).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


class Tiled(torch.autograd.Function):
    """Products and a softmax, tile by tile. Many probabilities are computed again for the gradient, as SDPA does."""

    @staticmethod
    def forward(ctx: Any, *qkv: Float[Tensor, "b h _ c"]) -> Float[Tensor, "b h n c"]:
        shape = qkv[0].shape
        with torch.autocast(qkv[0].device.type, enabled=False):  # it would have a softmax in fp32
            q, k, v = (x.flatten(0, 1) for x in qkv)
            q = q * shape[-1] ** -0.5
            mixed, kept = torch.empty_like(q), []
            for heads, rows in tiles(q, k):
                shares = torch.bmm(q[heads, rows], k[heads].mT).softmax(-1)
                mixed[heads, rows] = torch.bmm(shares, v[heads])
                if k.shape[1] <= KEPT:
                    kept.append(shares)
        ctx.save_for_backward(q, k, v, *kept)
        return mixed.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "b h n c"]) -> tuple[Float[Tensor, "b h _ c"], ...]:
        q, k, v, *kept = ctx.saved_tensors
        of_mixed = gradient.flatten(0, 1)
        of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for number, (heads, rows) in enumerate(tiles(q, k)):
            shares = kept[number] if kept else torch.bmm(q[heads, rows], k[heads].mT).softmax(-1)
            of_shares = torch.bmm(of_mixed[heads, rows], v[heads].mT)
            of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
            of_q[heads, rows] = torch.bmm(of_scores, k[heads])
            of_k[heads] += torch.bmm(of_scores.mT, q[heads, rows])
            of_v[heads] += torch.bmm(shares.mT, of_mixed[heads, rows])
        of_q *= q.shape[-1] ** -0.5
        return tuple(x.unflatten(0, gradient.shape[:2]) for x in (of_q, of_k, of_v))


def tiles(q: Float[Tensor, "bh n c"], k: Float[Tensor, "bh j c"]) -> Iterator[tuple[slice, slice]]:
    """Of heads and of queries, so that no tile has more scores than `TILE`: several heads, or a part of one. While
    compiling there is one, as a compiler unrolls the loop."""
    if torch.compiler.is_compiling():
        yield slice(None), slice(None)
        return
    (count, queries, _), keys = q.shape, k.shape[1]
    rows = min(queries, max(1, TILE // keys))
    heads = max(1, TILE // (rows * keys))
    for head in range(0, count, heads):
        for row in range(0, queries, rows):
            yield slice(head, head + heads), slice(row, row + rows)
