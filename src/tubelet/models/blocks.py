"""The transformer block of VideoMAE: norm first, and an attention whose key bias is fixed at zero."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.models.again import Make, linear_of, product_type
from tubelet.models.attention import attend


class Block(nn.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))`; while training each sum may be left out (`drop_path`)."""

    def __init__(self, width: int, heads: int, hidden: int, layer_norm_eps: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=layer_norm_eps)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=layer_norm_eps)
        self.mlp = Mlp(width, hidden)
        self.drop_path = 0.0  # the share of clips for which a branch is left out while training

    def forward(self, x: Float[Tensor, "b n d"], last: int | None = None) -> Float[Tensor, "b o d"]:
        """With `last`, only that many tokens at the end are computed; all tokens are still attended to."""
        kept = x if last is None else x[:, -last:]
        kept = kept + self.branch(self.attention(x, last, self.norm1))
        return kept + self.branch(self.mlp(kept, self.norm2))

    def branch(self, x: Float[Tensor, "b o d"]) -> Float[Tensor, "b o d"]:
        return drop_path(x, self.drop_path) if self.training and self.drop_path else x


def drop_path(x: Float[Tensor, "b n d"], rate: float) -> Float[Tensor, "b n d"]:
    """Stochastic depth (Huang et al., ECCV 2016): whole clips become 0, the others grow so that the mean stays."""
    kept = torch.rand(len(x), 1, 1, device=x.device) >= rate
    return x * (kept / (1 - rate)).to(x.dtype)


class Attention(nn.Module):
    """Queries, keys and values from one product. A key bias would not change the softmax, so there is none to learn."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b n d"], last: int | None = None, norm: Make | None = None
    ) -> Float[Tensor, "b o d"]:
        """Of `norm(x)`, if there is one. With `last`, only that many tokens at the end ask."""
        no_key_bias = torch.zeros_like(self.v_bias)
        if last is None:
            bias = torch.cat((self.q_bias, no_key_bias, self.v_bias))
            qkv = linear_of(norm, x, self.qkv.weight, bias)
            q, k, v = rearrange(qkv, "b n (three h c) -> b n three h c", three=3, h=self.heads).unbind(2)
        else:
            width = self.q_bias.numel()
            q_weight, kv_weight = self.qkv.weight.split((width, 2 * width))
            made = None if norm is None else product_type(norm(x))
            q = linear_of(norm, x[:, -last:], q_weight, self.q_bias, None if made is None else made[:, -last:])
            q = rearrange(q, "b o (h c) -> b o h c", h=self.heads)
            kv = linear_of(norm, x, kv_weight, torch.cat((no_key_bias, self.v_bias)), made)
            k, v = rearrange(kv, "b n (two h c) -> b n two h c", two=2, h=self.heads).unbind(2)
        return self.out(attend(q, k, v).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.recompute_gelu = False  # keep what enters the GELU alone, and compute it again for its gradient

    def forward(self, x: Float[Tensor, "b n d"], norm: Make | None = None) -> Float[Tensor, "b n d"]:
        """Of `norm(x)`, if there is one."""
        up = linear_of(norm, x, self.up.weight, self.up.bias)
        if self.recompute_gelu:
            return linear_of(F.gelu, up, self.down.weight, self.down.bias)
        return self.down(F.gelu(up))


def initialise(module: nn.Module) -> None:
    """VideoMAE's start, for `Module.apply`: Xavier-uniform weights, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
