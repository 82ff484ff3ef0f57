"""A critic tells what is true from what was made. In one backward pass it is trained, and trains what it judges: see
`Critic.held`."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from tubelet.models.blocks import initialise


class Critic(nn.Module):
    """High for what it takes to be true, between plus and minus `bound`."""

    def __init__(self, values: int, width: int, bound: float = 1.0):
        super().__init__()
        self.bound = bound
        self.layers = nn.Sequential(nn.Linear(values, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.value = nn.Linear(width, 1)
        self.apply(initialise)

    def forward(self, values: Float[Tensor, "*batch v"]) -> Float[Tensor, "*batch"]:
        return self.bound * torch.tanh(self.value(self.layers(values)).squeeze(-1).float() / self.bound)

    def held(self, values: Float[Tensor, "*batch v"]) -> Float[Tensor, "*batch"]:
        """The same with its weights held fixed: the gradient goes into the values alone."""
        fixed = {name: weight.detach() for name, weight in self.named_parameters()}
        return functional_call(self, fixed, (values,))
