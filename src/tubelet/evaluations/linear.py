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

from tubelet.evaluations.classification import Probe
from tubelet.evaluations.features import Features


@chz.chz
class Linear(Probe):
    name: ClassVar[str] = "linear"

    grid: tuple[float, ...] = chz.field(default=(1e-4, 1e-3, 1e-2, 1e-1, 1.0), doc="regularisation strengths C tried")

    def about(self) -> dict[str, Any]:
        return {
            "standardised": "by mean and deviation of the clips that fit",
            "head": "multinomial logistic regression, L2 of strength C as in scikit-learn, LBFGS in float64",
            "grid": list(self.grid),
            "ties": "the stronger regularisation",
        }

    def settings(self, clips: int) -> list[float]:
        return sorted(self.grid)

    def predict(self, train: Features, queries: Float[Tensor, "q d"], pool: str, setting: float) -> Int64[Tensor, "q"]:
        return fit(train.pooled(pool), train.label, len(train.classes), setting)(queries)


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
