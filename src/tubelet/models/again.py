"""A linear layer that does not keep its input for the gradient, but makes it again from what is kept anyway."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

WIDE = 256  # channels from which on a pass over the input is little beside the product; below, it is kept
Make = Callable[[Tensor], Tensor]  # a function of each token alone, which keeps its argument for its own gradient


def linear_of(
    make: Make | None,
    source: Float[Tensor, "b n s"],
    weight: Float[Tensor, "o d"],
    bias: Float[Tensor, "o"] | None = None,
    made: Float[Tensor, "b n d"] | None = None,
) -> Float[Tensor, "b n o"]:
    """`F.linear(make(source), weight, bias)`; `made` is `make(source)` where that was computed before."""
    if make is None:
        return F.linear(source, weight, bias)
    value = make(source) if made is None else made
    if value.shape[-1] < WIDE or torch.compiler.is_compiling():  # a compiler decides for itself what it keeps
        return F.linear(value, weight, bias)
    value = product_type(value)
    bias = None if bias is None else bias.to(value.dtype)
    return LinearOf.apply(value, weight.to(value.dtype), bias, source.detach(), make)


def product_type(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """In the precision in which products are computed here."""
    kind = x.device.type
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(
        kind
    )  # not of tensors without content
    return x.to(torch.get_autocast_dtype(kind)) if enabled else x


class LinearOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: Tensor, bias: Tensor | None, source: Tensor, make: Make) -> Tensor:
        ctx.save_for_backward(weight, source)
        ctx.make = make
        return F.linear(value, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, source = ctx.saved_tensors
        of_value, of_weight, of_bias, *_ = ctx.needs_input_grad
        flat = gradient.flatten(0, -2)
        return (
            (flat @ weight).view(*gradient.shape[:-1], -1) if of_value else None,
            flat.T @ ctx.make(source).to(weight.dtype).flatten(0, -2) if of_weight else None,
            flat.sum(0) if of_bias else None,
            None,
            None,
        )
