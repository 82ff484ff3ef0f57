"""kNN: the label of the nearest clips of train, by cosine, on frozen features. Nothing is selected on test.

The protocol, whole: features of one centre clip a video; less their mean over train (masked autoencoders' features
share a large common direction); cosine; the k nearest clips of train vote, each once ("majority") or by
exp(cosine / .07) ("softmax"), ties to the first class by name; k is the one of `grid` with the highest accuracy on a
held-out part of train (whole groups), ties to the larger k; then all of train votes and test is seen once.
"""

from typing import Any, ClassVar, Literal

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.classification import chance, hold_out, measure, two_splits
from tubelet.evaluations.features import POOLS, Features

TEMPERATURE = 0.07
Vote = Literal["majority", "softmax"]


@chz.chz
class Knn(Evaluation):
    name: ClassVar[str] = "knn"

    pools: tuple[str, ...] = chz.field(default=POOLS, doc="mean of the tokens, per-slot means side by side")
    grid: tuple[int, ...] = chz.field(default=(1, 3, 5, 10, 20, 50), doc="numbers of neighbours tried")
    vote: Vote = chz.field(default="softmax", doc="each neighbour once, or weighted by exp(cosine / .07)")
    centre: bool = chz.field(default=True, doc="subtract train's mean feature before the cosine")
    held_out: float = chz.field(default=0.25, doc="share of train's groups that selects k")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    def run(self, context: Context) -> dict[str, Any]:
        all_train, all_test = context.features("train"), context.features("test")
        train, test = two_splits(all_train, all_test, "kNN")
        held = hold_out(train, self.held_out, context.seed)
        result: dict[str, Any] = {
            "protocol": {
                "features": "frozen encoder, one centre clip a video; mean: of all tokens; slots: per-slot means",
                "distance": "cosine" + (" after subtracting train's mean feature" if self.centre else ""),
                "vote": self.vote if self.vote == "majority" else f"softmax of cosine / {TEMPERATURE}",
                "grid": list(self.grid),
                "selection": f"highest accuracy on {int(held.sum())} held-out clips of train "
                f"({self.held_out:.0%} of its groups by a keyed hash); ties to the larger k; then all of train",
                "selected": {},
                "held_out_accuracy": {},
                "intervals": f"95 %, {self.samples} bootstrap samples of whole test groups",
                "seed": context.seed,
            },
            "metrics": chance(train, test),
            "intervals": {},
            "counts": {"train": all_train.counts(), "test": all_test.counts(), "selecting": int(held.sum())},
            "failed": {"train": list(all_train.failed), "test": list(all_test.failed)},
            "classes": list(train.classes),
            "pools": {},
        }
        for pool in self.pools:
            neighbours, scores = self.select(train, held, pool)
            predicted = self.predict(train, test.pooled(pool), pool, neighbours)
            measured = measure(predicted, test, train, seed=context.seed, samples=self.samples)
            result["protocol"]["selected"][pool] = neighbours
            result["protocol"]["held_out_accuracy"][pool] = scores
            for part in ("metrics", "intervals"):
                result[part] |= {f"{pool}.{name}": value for name, value in measured.pop(part).items()}
            result["pools"][pool] = measured
        return result

    def select(self, train: Features, held: Tensor, pool: str) -> tuple[int, dict[str, float]]:
        """The k of the grid that is best on the held-out part of train, and the accuracy of each."""
        bank, selecting = train.rows(~held), train.rows(held)
        possible = [k for k in self.grid if k <= len(bank)] or [len(bank)]
        scores = {}
        for k in possible:
            predicted = self.predict(bank, selecting.pooled(pool), pool, k)
            scores[k] = float((predicted == selecting.label).float().mean())
        best = max(possible, key=lambda k: (scores[k], k))
        return best, {str(k): score for k, score in scores.items()}

    def predict(self, bank: Features, queries: Float[Tensor, "q d"], pool: str, k: int) -> Int64[Tensor, "q"]:
        keys = bank.pooled(pool)
        shift = keys.double().mean(0) if self.centre else torch.zeros((), dtype=torch.float64)
        return nearest(keys.double() - shift, bank.label, queries.double() - shift, len(bank.classes), k, self.vote)


def nearest(
    bank: Float[Tensor, "v d"],
    label: Int64[Tensor, "v"],
    queries: Float[Tensor, "q d"],
    classes: int,
    k: int,
    vote: Vote,
) -> Int64[Tensor, "q"]:
    """The class with the most votes among the k nearest by cosine; equal distances go to the earlier clip."""
    cosine = normalize(queries, dim=1) @ normalize(bank, dim=1).T  # q v
    order = cosine.argsort(dim=1, descending=True, stable=True)[:, :k]
    votes = one_hot(label[order], classes).double()  # q k classes
    if vote == "softmax":
        votes *= ((cosine.gather(1, order) - 1) / TEMPERATURE).exp()[..., None]
    return votes.sum(1).argmax(1)
