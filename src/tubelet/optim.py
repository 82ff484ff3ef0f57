"""AdamW, and the learning rate as a function of the step."""

import math
from collections.abc import Mapping

import chz
import torch
from torch import Tensor, nn

from tubelet.errors import RecipeError


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
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise RecipeError(f"optim.clip_norm={self.clip_norm} must be positive, or None for no clipping")

    def build(self, module: nn.Module) -> torch.optim.AdamW:
        trained = [p for p in module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.base_lr, betas=self.betas, fused=True)

    def clip(self, module: nn.Module) -> Mapping[str, Tensor]:
        """Scales gradients down to `clip_norm`. Returns their norms before, under the names they are logged by.

        A part marked `observing` (a head trained on features that it cannot change) is clipped by its own norm, so
        that it does not reach the encoder by way of a common one.
        """
        watching = {p for part in module.modules() if getattr(part, "observing", False) for p in part.parameters()}
        apart = {
            "gradient_norm": [p for p in module.parameters() if p not in watching],
            "gradient_norm.observing": [p for p in module.parameters() if p in watching],
        }
        limit = self.clip_norm or math.inf
        return {name: nn.utils.clip_grad_norm_(some, limit) for name, some in apart.items() if some}

    def rate(self, step: int, total: int, clips: int) -> float:
        """The learning rate of a step, counted from 0, for so many clips a step."""
        scale = clips / 256
        return learning_rate(
            step,
            peak=self.base_lr * scale,
            floor=self.floor_lr * scale,
            warmup=int(self.warmup * total + 1e-6),
            total=total,
        )


def learning_rate(step: int, *, peak: float, floor: float, warmup: int, total: int) -> float:
    """From 0 at step 0 to `peak` at step `warmup - 1` in a line, then down to `floor` on half a cosine (VideoMAE's)."""
    if step < warmup:
        return peak * step / max(warmup - 1, 1)
    return floor + (peak - floor) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
