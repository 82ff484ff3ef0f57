"""Nodes: a sensor from the others, as nodes of a graph (masked video and IMU, arXiv 2407.06628).

The device vectors of a sample, the mean tokens of the columns of its grid before streams meet, are the nodes of a full
graph. Some are replaced by a learned vector, layers of a graph isomorphism network mix them, and the replaced are
predicted. From notes of the paper: GIN, a cosine loss. Ours: the share that is replaced, the layers, and a target that
is detached.
"""

import chz
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import RecipeError
from tubelet.models.blocks import initialise
from tubelet.objectives.base import Objective, Sizes
from tubelet.seeds import fold, uniform
from tubelet.types import Clip, Encoded, Loss


@chz.chz
class Nodes(Objective):
    on: str = chz.field(default="sensors", doc="the stream of sensors")
    share: float = chz.field(default=0.25, doc="share of the devices that is replaced, at least one")
    layers: int = chz.field(default=2, doc="layers that mix nodes")

    @chz.validate
    def _sensible(self) -> None:
        if not 0 < self.share < 1 or self.layers < 1:
            raise RecipeError(f"share={self.share:g} must be between 0 and 1, and layers={self.layers} 1 or more")

    @property
    def streams(self) -> tuple[str, ...]:
        return (self.on,)

    def build(self, sizes: Sizes) -> "NodesLoss":
        return NodesLoss(self, sizes)


class NodesLoss(nn.Module):
    """Logs NAME, 1 - cosine of the replaced nodes, and NAME.baseline, that of the mean node of the step."""

    def __init__(self, config: Nodes, sizes: Sizes):
        super().__init__()
        self.config, self.name = config, sizes.name
        own = sizes.of(config.on)
        self.devices = own.clip.grid[2]
        if self.devices < 2:
            raise RecipeError(f"objectives.{sizes.name}: {config.on} has {self.devices} device; a graph needs two")
        self.replaced = min(max(round(config.share * self.devices), 1), self.devices - 1)
        self.unknown = nn.Parameter(torch.zeros(own.width))
        self.place = nn.Parameter(torch.zeros(self.devices, own.width))  # which device a node is
        self.mix = nn.ModuleList(
            nn.Sequential(nn.Linear(own.width, own.width), nn.GELU(), nn.Linear(own.width, own.width))
            for _ in range(config.layers)
        )
        self.self_weight = nn.Parameter(torch.zeros(config.layers))  # a node's own part in its sum
        self.apply(initialise)
        nn.init.trunc_normal_(self.unknown, std=0.02)
        nn.init.trunc_normal_(self.place, std=0.02)

    def forward(self, seen: Encoded) -> Loss:
        own = seen.of(self.config.on)
        with torch.autocast(own.tokens.device.type, enabled=False):
            nodes = nodes_of(own.alone.float(), own.mask.visible, own.clip)
            noise = uniform(fold(seen.batch.key, self.name), self.devices)
            hidden = torch.zeros_like(noise, dtype=torch.bool)
            hidden.scatter_(1, noise.topk(self.replaced, 1).indices, True)
            said = self.predict(nodes, hidden)[hidden]
            wanted = nodes[hidden].detach()
            loss = (1 - F.cosine_similarity(said, wanted, dim=-1)).mean()
            mean = wanted.mean(0, keepdim=True)
            baseline = (1 - F.cosine_similarity(mean.expand_as(wanted), wanted, dim=-1)).mean()
        return Loss(loss, {self.name: loss.detach(), f"{self.name}.baseline": baseline})

    def predict(self, nodes: Float[Tensor, "b v d"], hidden: Bool[Tensor, "b v"]) -> Float[Tensor, "b v d"]:
        """After messages of all nodes to all others."""
        x = torch.where(hidden[..., None], self.unknown, nodes) + self.place
        for weight, mix in zip(self.self_weight, self.mix, strict=True):
            others = x.sum(1, keepdim=True) - x
            x = mix((1 + weight) * x + others)
        return x


def nodes_of(tokens: Float[Tensor, "b k d"], visible: Int64[Tensor, "b k"], clip: Clip) -> Float[Tensor, "b v d"]:
    """The mean of the visible tokens of each device; 0 of one of which nothing is visible."""
    device = visible % clip.grid[2]
    one_hot = F.one_hot(device, clip.grid[2]).to(tokens.dtype)  # b k v
    sums = rearrange(one_hot, "b k v -> b v k") @ tokens
    return sums / one_hot.sum(1).clamp(min=1)[..., None]
