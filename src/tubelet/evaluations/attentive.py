"""Attentive probe: one cross-attention block on the frozen tokens, then a linear map. Nothing is selected on test.

The protocol, whole. One learned query attends to the layer-normalised tokens of one centre clip (V-JEPA, arXiv
2404.08471), `heads` heads, then a residual MLP of four times the width and a linear classifier on the layer-normalised
outcome. AdamW, cosine, `epochs` passes; the learning rate is the one of `rates` with the highest accuracy on a held-out
part of train (whole groups), ties to the smaller; then it is trained on all of train and tested once. With one query,
its product with the keys is one vector a head, which is what is learned: the function is that of the usual block and
costs a fraction of it. With `side`, the tokens of a time step are first averaged to so many rows and columns.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tubelet.distributed import map_over_ranks
from tubelet.evaluations.base import Context
from tubelet.evaluations.classification import Probe
from tubelet.evaluations.features import Features, Tokens
from tubelet.models.blocks import Mlp, initialise
from tubelet.seeds import generator, key


@chz.chz
class Attentive(Probe):
    name: ClassVar[str] = "attentive"
    tried: ClassVar[str] = "rates"
    what: ClassVar[str] = "frozen encoder, all tokens of one centre clip a video, in half precision"

    pools: tuple[str, ...] = chz.field(default=("tokens",), doc="what is attended to")
    rates: tuple[float, ...] = chz.field(default=(3e-4, 1e-3, 3e-3, 1e-2), doc="learning rates tried")
    epochs: int = chz.field(default=20, doc="passes over the clips")
    batch: int = chz.field(default=64, doc="clips of a step")
    heads: int = chz.field(default=4, doc="of the attention (fewer where they do not divide the width)")
    weight_decay: float = chz.field(default=0.05, doc="of AdamW")
    side: int | None = chz.field(
        default=None, doc="average the tokens of a time step to this number of rows and columns: less disk, less time"
    )

    def about(self) -> dict[str, Any]:
        return {
            "tokens": "all" if self.side is None else f"averaged to {self.side}x{self.side} positions a time step",
            "head": f"one cross-attention block with one learned query, {self.heads} heads, MLP of 4 times the width; "
            f"AdamW, weight decay {self.weight_decay:g}, {self.epochs} epochs in batches of {self.batch}, cosine",
            "grid": self.settings(0),
            "ties": "the smaller rate",
        }

    def given(self, context: Context, split: str) -> Features:
        return context.with_tokens(split, self.side)

    def settings(self, clips: int) -> list[float]:
        return sorted(self.rates)

    def scores(
        self, train: Features, queries: Features, pool: str, settings: Sequence[float]
    ) -> list[Float[Tensor, "q classes"]]:
        tokens, asked = train.tokens, queries.tokens
        assert tokens is not None
        assert asked is not None

        def scored(rate: float) -> Tensor:
            return scores_of(learn(self, tokens, train.label, len(train.classes), rate), asked)

        return map_over_ranks(settings, scored, "attentive probes")


class AttentiveHead(nn.Module):
    def __init__(self, width: int, heads: int, classes: int) -> None:
        super().__init__()
        heads = next(count for count in range(heads, 0, -1) if width % count == 0)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)  # a scale and a shift are part of what follows
        self.ask = nn.Parameter(torch.randn(heads, width) / width**0.5)
        self.value = nn.Parameter(torch.randn(heads, width, width // heads) / width**0.5)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)
        self.norm_out = nn.LayerNorm(width)
        self.classify = nn.Linear(width, classes)
        for part in (self.out, self.mlp, self.classify):
            part.apply(initialise)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b classes"]:
        x = self.norm(tokens)
        share = (x @ self.ask.T).softmax(1)  # b n h
        mixed = share.mT @ x  # b h d
        pooled = self.out(torch.einsum("bhd,hdc->bhc", mixed, self.value).flatten(1))[:, None]  # b 1 d
        pooled = pooled + self.mlp(self.norm_mlp(pooled))
        scores: Tensor = self.classify(self.norm_out(pooled)).squeeze(1)
        return scores


def learn(settings: Attentive, tokens: Tokens, label: Int64[Tensor, "v"], classes: int, rate: float) -> AttentiveHead:
    """The head after all steps: a function of the clips and the settings."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(key(0, "attentive probe"))
        head = AttentiveHead(tokens.width, settings.heads, classes).to(device)
        plain = [p for p in head.parameters() if p.ndim < 2]
        decayed = [p for p in head.parameters() if p.ndim >= 2]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        solver = torch.optim.AdamW(groups, lr=rate)
        size = min(settings.batch, len(label))
        steps = settings.epochs * (len(label) // size)
        draws = generator(0, "attentive order")
        for step in range(steps):
            if step % (len(label) // size) == 0:
                positions = torch.from_numpy(draws.permutation(len(label)))
            first = step % (len(label) // size) * size
            some = positions[first : first + size]
            for group in solver.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / max(steps // 20, 1)) * at(step / steps)
            solver.zero_grad()
            cross_entropy(head(tokens.load(some).to(device)), label[some].to(device)).backward()
            solver.step()
    return head.eval()


def at(done: float) -> float:
    """The cosine from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def scores_of(head: AttentiveHead, tokens: Tokens, batch: int = 256) -> Float[Tensor, "q classes"]:
    device = head.ask.device
    parts = torch.arange(len(tokens)).split(batch)
    return torch.cat([head(tokens.load(some).to(device)).cpu() for some in parts])
