"""The encoder as a classifier, as VideoMAE is fine-tuned: the mean of all tokens, LayerNorm, one linear layer."""

from collections.abc import Sequence

import chz
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tubelet.models.encoder import Vit
from tubelet.types import Clip


class Classifier(nn.Module):
    """The encoder's own last norm is left out: the norm comes after the mean, and starts anew."""

    def __init__(self, config: Vit, clip: Clip, classes: int, *, drop_path: float = 0.0, head_scale: float = 1e-3):
        super().__init__()
        self.encoder = chz.replace(config, final_norm=False).build(clip)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.width, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.weight.mul_(head_scale)
        rates = torch.linspace(0, drop_path, config.depth).tolist()  # deeper blocks are left out more often
        for block, rate in zip(self.encoder.blocks, rates, strict=True):
            block.drop_path = rate

    def forward(self, video: UInt8[Tensor, "b 3 t h w"] | Float[Tensor, "b c t h w"]) -> Float[Tensor, "b classes"]:
        """A score a class."""
        return self.scores(self.features(video))

    def features(self, video: UInt8[Tensor, "b 3 t h w"] | Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        return self.encoder.encode(video).mean(1)

    def scores(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b classes"]:
        return self.head(self.norm(features))

    def layers(self) -> Sequence[Sequence[nn.Module]]:
        """From the pixels up, for learning rates that grow layer by layer."""
        return [[self.encoder.embed], *([block] for block in self.encoder.blocks), [self.norm, self.head]]


class ScoreHead(nn.Module):
    """Tokens to scores, as a fine-tuned VideoMAE has it: of the mean of all tokens, normalised; without a norm of the
    first token, as the official code does."""

    def __init__(self, width: int, classes: int, eps: float, pooled: bool = True):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps) if pooled else None
        self.linear = nn.Linear(width, classes)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b classes"]:
        return self.linear(tokens[:, 0] if self.norm is None else self.norm(tokens.mean(1)))
