"""AdamW, the learning rate as a function of the step, and how it grows from layer to layer in fine-tuning."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import chz
import torch
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.sharded import whole


class Trainable(nn.Module):
    """A module that says what an optimizer cannot see in its parameters."""

    def layers(self) -> Sequence[Sequence[nn.Module]] | None:
        """From the pixels up, for learning rates that grow layer by layer; None where they lead to no one head."""
        return None

    def detached_parameters(self) -> Iterable[nn.Parameter]:
        """Of stop-gradient probe heads."""
        return ()

    def after_step(self) -> None:
        """Called after each step of the optimizer."""


@chz.chz
class Optim:
    """AdamW with a linear warm-up and a cosine down to a floor; rates are given per 256 clips of a step."""

    base_lr: float = chz.field(default=1.5e-4, doc="peak learning rate for 256 clips a step; it grows with the batch")
    floor_lr: float = chz.field(default=1e-5, doc="learning rate at the end, for 256 clips a step")
    warmup: float = chz.field(default=0.05, doc="share of the steps that warm up from 0")
    betas: tuple[float, float] = chz.field(default=(0.9, 0.95), doc="AdamW's two averages")
    weight_decay: float = chz.field(default=0.05, doc="not applied to biases, norms and other 1-D tensors")
    clip_norm: float | None = chz.field(default=None, doc="largest norm of the gradient; None: not clipped")

    @chz.validate
    def _sensible(self) -> None:
        if not 0 <= self.warmup < 1:
            raise RecipeError(f"optim.warmup={self.warmup} is a share of the steps: at least 0 and less than 1")
        if not (self.base_lr > 0 and 0 <= self.floor_lr <= self.base_lr):
            raise RecipeError(
                f"optim.base_lr={self.base_lr} must be positive and no less than optim.floor_lr={self.floor_lr}"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise RecipeError(f"optim.betas={','.join(map(str, self.betas))} must be at least 0 and less than 1")
        if not self.weight_decay >= 0:
            raise RecipeError(f"optim.weight_decay={self.weight_decay} must be a number of 0 or more")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise RecipeError(f"optim.clip_norm={self.clip_norm} must be positive, or None for no clipping")

    def build(self, module: nn.Module) -> torch.optim.AdamW:
        optimizer = torch.optim.AdamW(self.groups(module), lr=self.base_lr, betas=self.betas, fused=True)
        if isinstance(module, Trainable):
            optimizer.register_step_post_hook(lambda *_: module.after_step())
        return optimizer

    def groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """The trained parameters; `scale` is what the learning rate of a group is multiplied by."""
        return self.split(module.parameters(), 1.0)

    def split(self, parameters: Iterable[nn.Parameter], scale: float) -> list[dict[str, Any]]:
        trained = [p for p in parameters if p.requires_grad]
        return [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.weight_decay, "scale": scale},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0, "scale": scale},
        ]

    def clip(self, module: nn.Module) -> Mapping[str, Tensor]:
        """Scales gradients down to `clip_norm`. Returns their norms before, under the names they are logged by.

        A detached part (a probe head, whose features it cannot change) is clipped by its own norm, so that it does not
        reach the encoder by way of a common one.
        """
        detached = {*module.detached_parameters()} if isinstance(module, Trainable) else set()
        apart = {
            "gradient_norm": [p for p in module.parameters() if p not in detached],
            "gradient_norm.detached": [p for p in module.parameters() if p in detached],
        }
        limit = self.clip_norm or math.inf
        return {name: whole(nn.utils.clip_grad_norm_(some, limit)) for name, some in apart.items() if some}

    def rate(self, step: int, total: int, clips: int) -> float:
        """The learning rate of a step, counted from 0, for this number of clips a step."""
        scale = clips / 256
        return learning_rate(
            step,
            peak=self.base_lr * scale,
            floor=self.floor_lr * scale,
            warmup=int(self.warmup * total + 1e-6),
            total=total,
        )


@chz.chz
class LayerDecay(Optim):
    """Learning rates that shrink towards the pixels, of a task that names its layers from there up."""

    base_lr: float = chz.field(default=1e-3, doc="peak learning rate of the last layer for 256 clips a step")
    floor_lr: float = chz.field(default=1e-6, doc="learning rate at the end, for 256 clips a step")
    warmup: float = chz.field(default=0.1, doc="share of the steps that warm up from 0")
    betas: tuple[float, float] = chz.field(default=(0.9, 0.999), doc="AdamW's two averages")
    layer_decay: float = chz.field(default=0.75, doc="each layer's rate over that of the next one; 1: all the same")

    @chz.validate
    def _share(self) -> None:
        if not 0 < self.layer_decay <= 1:
            raise RecipeError(f"optim.layer_decay={self.layer_decay} must be more than 0 and at most 1")

    def groups(self, module: nn.Module) -> list[dict[str, Any]]:
        layers = module.layers() if isinstance(module, Trainable) else None
        if layers is None:
            raise RecipeError("optim=LayerDecay is for fine-tuning, where layers lead to a head; take optim=Optim here")
        scales = layer_scales(self.layer_decay, len(layers))
        groups = [
            group
            for parts, scale in zip(layers, scales, strict=True)
            for group in self.split((p for part in parts for p in part.parameters()), scale)
        ]
        assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in module.parameters())
        return [group for group in groups if group["params"]]


def layer_scales(decay: float, layers: int) -> list[float]:
    """BEiT's factors, from the embedding of the pixels (`decay ** (layers - 1)`) to the head (1)."""
    return [decay ** (layers - 1 - number) for number in range(layers)]


def learning_rate(step: int, *, peak: float, floor: float, warmup: int, total: int) -> float:
    """From 0 at step 0 to `peak` at step `warmup - 1` in a line, then down to `floor` on half a cosine (VideoMAE's)."""
    if step < warmup:
        return peak * step / max(warmup - 1, 1)
    return floor + (peak - floor) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
