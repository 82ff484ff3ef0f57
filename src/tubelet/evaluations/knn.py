"""kNN: the label of the nearest clips of train, by cosine, on frozen features. Nothing is selected on test.

The protocol, whole: features of one centre clip a video; less their mean over train (masked autoencoders' features
share a large common direction); cosine; the k nearest clips of train vote, each once ("majority") or by
exp(cosine / .07) ("softmax"), ties to the first class by name; k is the one of `grid` with the highest accuracy on a
held-out part of train (whole groups), ties to the larger k; then all of train votes and test is seen once.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from tubelet.distributed import map_over_ranks
from tubelet.evaluations.classification import Probe
from tubelet.evaluations.features import Features

TEMPERATURE = 0.07
CELLS = 1 << 25  # cosines in memory at once
Vote = Literal["majority", "softmax"]


@chz.chz
class Knn(Probe):
    name: ClassVar[str] = "knn"

    grid: tuple[int, ...] = chz.field(default=(1, 3, 5, 10, 20, 50), doc="numbers of neighbours tried")
    vote: Vote = chz.field(default="softmax", doc="each neighbour once, or weighted by exp(cosine / .07)")
    centre: bool = chz.field(default=True, doc="subtract train's mean feature before the cosine")

    def about(self) -> dict[str, Any]:
        return {
            "distance": "cosine" + (" after subtracting train's mean feature" if self.centre else ""),
            "vote": self.vote if self.vote == "majority" else f"softmax of cosine / {TEMPERATURE}",
            "grid": list(self.grid),
            "ties": "the larger k",
        }

    def settings(self, clips: int) -> list[int]:
        return sorted({min(k, clips) for k in self.grid}, reverse=True)

    def scores(
        self, train: Features, queries: Features, pool: str, settings: Sequence[int]
    ) -> list[Float[Tensor, "q classes"]]:
        bank = train.pooled(pool).double()
        shift = bank.mean(0) if self.centre else torch.zeros_like(bank[0])
        asked = queries.pooled(pool).double() - shift
        similarity, indices = neighbours(bank - shift, asked, max(settings))
        labels, classes = train.label[indices], len(train.classes)
        return [votes(similarity[:, :k], labels[:, :k], classes, self.vote) for k in settings]


def nearest_class(
    bank: Float[Tensor, "v d"],
    label: Int64[Tensor, "v"],
    queries: Float[Tensor, "q d"],
    classes: int,
    k: int,
    vote: Vote,
) -> Int64[Tensor, "q"]:
    """The class with the most votes among the k nearest by cosine; equal distances go to the earlier clip."""
    similarity, indices = neighbours(bank, queries, k)
    return votes(similarity, label[indices], classes, vote).argmax(1)


def neighbours(
    bank: Float[Tensor, "v d"], queries: Float[Tensor, "q d"], k: int
) -> tuple[Float[Tensor, "q {k}"], Int64[Tensor, "q {k}"]]:
    """The cosines of the k nearest and their rows, the nearest first."""
    known, asked = normalize(bank, dim=1).T, normalize(queries, dim=1)

    def nearest_of(some: Tensor) -> tuple[Tensor, Tensor]:
        similarity, indices = (some @ known).sort(dim=1, descending=True, stable=True)
        return similarity[:, :k].clone(), indices[:, :k].clone()

    found = map_over_ranks(asked.split(max(1, CELLS // len(bank))), nearest_of, "nearest clips")
    similarity, indices = (torch.cat(parts) for parts in zip(*found, strict=True))
    return similarity, indices


def votes(
    similarity: Float[Tensor, "q k"], labels: Int64[Tensor, "q k"], classes: int, vote: Vote
) -> Float[Tensor, "q classes"]:
    """How many votes each class has."""
    weight = torch.ones_like(similarity) if vote == "majority" else ((similarity - 1) / TEMPERATURE).exp()
    return torch.zeros(len(labels), classes, dtype=weight.dtype).scatter_add_(1, labels, weight)
