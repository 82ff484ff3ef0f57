"""Linear probe: multinomial logistic regression on frozen features. Nothing is selected on test.

The protocol, whole: features of one centre clip a video; standardised by the mean and deviation of the clips that fit;
L2-regularised logistic regression (the strength C as in scikit-learn: C times the summed cross-entropy plus half the
squared weights, no penalty on the bias), solved to convergence in float64; C is the one of `grid` with the highest
accuracy on a held-out part of train (whole groups), ties to the stronger regularisation; then fitted on all of train
and tested once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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

    def predict(
        self, train: Features, queries: Float[Tensor, "q d"], pool: str, settings: Sequence[float]
    ) -> list[Int64[Tensor, "q"]]:
        problem = Problem(train.pooled(pool), train.label, len(train.classes))
        return [problem.solve(strength).scores(queries).argmax(1) for strength in settings]


@dataclass(frozen=True)
class Head:
    """Standardise, then a linear map."""

    shift: Float[Tensor, "d"]
    scale: Float[Tensor, "d"]
    weight: Float[Tensor, "d classes"]
    bias: Float[Tensor, "classes"]

    def scores(self, features: Float[Tensor, "v d"]) -> Float[Tensor, "v classes"]:
        return (features.double() - self.shift) / self.scale @ self.weight + self.bias


class Problem:
    """Standardised features with their labels, ready to be solved at any strength; a solution starts from the last.

    The work is done on the principal axes of the features, where the curvature of the loss is nearly diagonal; a
    rotation keeps |W|, and with more features than clips the minimum lies in the span of the clips.
    """

    def __init__(self, features: Float[Tensor, "v d"], label: Int64[Tensor, "v"], classes: int) -> None:
        x = features.double()
        self.label = label
        self.shift = x.mean(0)
        deviation = x.std(0, unbiased=False)
        self.scale = torch.where(deviation > 1e-12 * (1 + self.shift.abs()), deviation, 1.0)
        x = (x - self.shift) / self.scale
        wide = x.shape[1] > x.shape[0]
        energy, axes = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
        kept = energy > energy[-1] * 1e-12
        self.energy = energy[kept]  # r, ascending: the sum of squares along each axis
        self.axes = x.T @ (axes[:, kept] / self.energy.sqrt()) if wide else axes[:, kept]  # d r, orthonormal
        self.x = x @ self.axes
        self.weight = torch.zeros(self.x.shape[1], classes, dtype=torch.float64)
        self.bias = torch.zeros(classes, dtype=torch.float64)

    def solve(self, strength: float) -> Head:
        """The minimum of C * sum of cross-entropies + |W|^2 / 2."""
        penalty = 1 / (strength * len(self.x))  # of the mean cross-entropy
        curvature = self.energy / (len(self.x) * self.weight.shape[1]) + penalty
        step = curvature.rsqrt()[:, None]  # r 1: in these units all axes are about equally curved
        x = self.x * step.T
        weight, bias = (self.weight / step).requires_grad_(), self.bias.clone().requires_grad_()
        solver = torch.optim.LBFGS(
            [weight, bias], max_iter=2000, max_eval=4000, history_size=60,
            tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def loss() -> Tensor:
            solver.zero_grad()
            value = cross_entropy(x @ weight + bias, self.label) + penalty / 2 * (weight * step).square().sum()
            value.backward()
            return value

        with torch.enable_grad():
            solver.step(loss)
        self.weight, self.bias = weight.detach() * step, bias.detach()
        return Head(self.shift, self.scale, self.axes @ self.weight, self.bias)
