"""The running average of a module's weights, which often tests better than the weights themselves."""

import copy

import torch
from torch import Tensor, nn


class Average(nn.Module):
    """`average = decay * average + (1 - decay) * weights` after every step of the optimizer.

    The decay of step t is at most (1 + t) / (10 + t), so that a short run is not an average of its first weights.
    """

    def __init__(self, followed: nn.Module, decay: float):
        super().__init__()
        self.model = copy.deepcopy(followed).requires_grad_(False)
        self.decay = decay
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, followed: nn.Module) -> None:
        decay = torch.clamp((1 + self.steps) / (10 + self.steps), max=self.decay)
        for own, new in zip(self.model.parameters(), followed.parameters(), strict=True):
            own.lerp_(new.to(own.dtype), (1 - decay).to(own.dtype))
        self.steps += 1
