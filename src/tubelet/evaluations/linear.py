"""Linear probe: multinomial logistic regression on frozen features. Nothing is selected on test.

The protocol, whole: features of one centre clip a video; standardised by the mean and deviation of the clips that fit;
L2-regularised logistic regression (the strength C as in scikit-learn: C times the summed cross-entropy plus half the
squared weights, no penalty on the bias), solved to convergence in float64; C is the one of `grid` with the highest
accuracy on a held-out part of train (whole groups), ties to the stronger regularisation; then fitted on all of train
and tested once.
"""

from typing import Any, ClassVar

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.classification import chance, hold_out, measure, two_splits
from tubelet.evaluations.features import POOLS, Features


@chz.chz
class Linear(Evaluation):
    name: ClassVar[str] = "linear"

    pools: tuple[str, ...] = chz.field(default=POOLS, doc="mean of the tokens, per-slot means side by side")
    grid: tuple[float, ...] = chz.field(default=(1e-4, 1e-3, 1e-2, 1e-1, 1.0), doc="regularisation strengths C tried")
    held_out: float = chz.field(default=0.25, doc="share of train's groups that selects C")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    def run(self, context: Context) -> dict[str, Any]:
        all_train, all_test = context.features("train"), context.features("test")
        train, test = two_splits(all_train, all_test, "the linear probe")
        held = hold_out(train, self.held_out, context.seed)
        result: dict[str, Any] = {
            "protocol": {
                "features": "frozen encoder, one centre clip a video; mean: of all tokens; slots: per-slot means",
                "standardised": "mean and deviation of the clips that fit",
                "head": "multinomial logistic regression, L2, LBFGS to convergence in float64",
                "grid": list(self.grid),
                "selection": f"highest accuracy on {int(held.sum())} held-out clips of train "
                f"({self.held_out:.0%} of its groups by a keyed hash); ties to the smaller C; then all of train",
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
            strength, scores = self.select(train, held, pool)
            head = fit(train.pooled(pool), train.label, len(train.classes), strength)
            measured = measure(head(test.pooled(pool)), test, train, seed=context.seed, samples=self.samples)
            result["protocol"]["selected"][pool] = strength
            result["protocol"]["held_out_accuracy"][pool] = dict(zip(map(str, self.grid), scores, strict=True))
            for part in ("metrics", "intervals"):
                result[part] |= {f"{pool}.{name}": value for name, value in measured.pop(part).items()}
            result["pools"][pool] = measured
        return result

    def select(self, train: Features, held: Tensor, pool: str) -> tuple[float, list[float]]:
        """The C of the grid that is best on the held-out part of train, and the accuracy of each."""
        fitting, selecting = train.rows(~held), train.rows(held)
        scores = []
        for strength in self.grid:
            head = fit(fitting.pooled(pool), fitting.label, len(train.classes), strength)
            scores.append(float((head(selecting.pooled(pool)) == selecting.label).float().mean()))
        best = max(zip(scores, self.grid, strict=True), key=lambda pair: (pair[0], -pair[1]))
        return best[1], scores


class Head:
    """Standardise, then a linear map: the class with the highest score."""

    def __init__(self, shift: Tensor, scale: Tensor, weight: Tensor, bias: Tensor) -> None:
        self.shift, self.scale, self.weight, self.bias = shift, scale, weight, bias

    def scores(self, features: Float[Tensor, "v d"]) -> Float[Tensor, "v classes"]:
        return (features.double() - self.shift) / self.scale @ self.weight + self.bias

    def __call__(self, features: Float[Tensor, "v d"]) -> Int64[Tensor, "v"]:
        return self.scores(features).argmax(1)


def fit(features: Float[Tensor, "v d"], label: Int64[Tensor, "v"], classes: int, strength: float) -> Head:
    """The minimum of C * sum of cross-entropies + |W|^2 / 2 on standardised features."""
    x = features.double()
    shift = x.mean(0)
    scale = x.std(0, unbiased=False)
    scale = torch.where(scale > 1e-12 * (1 + shift.abs()), scale, 1.0)
    x = (x - shift) / scale
    basis = None
    if x.shape[1] > x.shape[0]:  # the minimum lies in the span of the clips, and a rotation keeps |W|
        left, size, basis = torch.linalg.svd(x, full_matrices=False)
        x = left * size
    weight = torch.zeros(x.shape[1], classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=2000, max_eval=4000, history_size=20,
        tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> Tensor:
        solver.zero_grad()
        value = cross_entropy(x @ weight + bias, label) + weight.square().sum() / (2 * strength * len(x))
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]
    solution = weight.detach() if basis is None else basis.T @ weight.detach()
    return Head(shift, scale, solution, bias.detach())
