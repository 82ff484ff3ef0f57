"""Linear probe: one linear map on frozen features. Nothing is selected on test.

The protocol, whole: features of one centre clip a video, normalised by `norm`; then by `solver`

- lbfgs: L2-regularised logistic regression (the strength C as in scikit-learn: C times the summed cross-entropy plus
  half the squared weights, no penalty on the bias), solved to convergence in float64; `grid` are strengths, ties go to
  the stronger regularisation.
- sgd: cross-entropy without weight decay, momentum .9, the rate falling to 0 on a cosine, `epochs` passes in batches of
  `batch`; `grid` are learning rates for a batch of 256, ties go to the smaller one.

The setting is the one with the highest accuracy on a held-out part of train (whole groups); then it is fitted on all of
train and tested once. `norm=batch` is batch normalisation without a learned scale, its statistics those of all clips
that fit (with lbfgs: standardised features); `layer` is layer normalisation of each feature vector, `none` leaves it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, layer_norm

from tubelet.evaluations.classification import Probe
from tubelet.evaluations.features import Features
from tubelet.seeds import generator

Norm = Literal["batch", "layer", "none"]
Solver = Literal["lbfgs", "sgd"]
GRIDS: dict[str, tuple[float, ...]] = {
    "lbfgs": (1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    "sgd": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
}
NORMS = {
    "batch": "by mean and deviation of the clips that fit (batch normalisation without a learned scale)",
    "layer": "layer normalisation of every feature vector, without a learned scale",
    "none": "not at all",
}


@chz.chz
class Linear(Probe):
    name: ClassVar[str] = "linear"

    norm: Norm = chz.field(default="batch", doc="of the features: batch, layer or none")
    solver: Solver = chz.field(default="lbfgs", doc="lbfgs (to convergence) or sgd (as most papers do)")
    grid: tuple[float, ...] | None = chz.field(
        default=None, doc="what is tried: strengths C of lbfgs, learning rates of sgd (None: each solver's own)"
    )
    epochs: int = chz.field(default=100, doc="passes of sgd over the clips")
    batch: int = chz.field(default=256, doc="clips of a step of sgd")
    order: int = chz.field(default=0, doc="seed of the order of the clips of sgd")

    def about(self) -> dict[str, Any]:
        heads = {
            "lbfgs": "multinomial logistic regression, L2 of strength C as in scikit-learn, LBFGS in float64",
            "sgd": f"linear, cross-entropy, SGD with momentum .9, {self.epochs} epochs in batches of {self.batch}, "
            "rate * batch / 256 falling to 0 on a cosine, no weight decay",
        }
        return {
            "normalised": NORMS[self.norm],
            "head": heads[self.solver],
            "grid": self.settings(0),
            "ties": "the stronger regularisation" if self.solver == "lbfgs" else "the smaller rate",
        }

    def settings(self, clips: int) -> list[float]:
        return sorted(GRIDS[self.solver] if self.grid is None else self.grid)

    def scores(
        self, train: Features, queries: Features, pool: str, settings: Sequence[float]
    ) -> list[Float[Tensor, "q classes"]]:
        return [head.scores(queries.pooled(pool)) for head in self.fit(train, pool, settings)]

    def fit(self, train: Features, pool: str, settings: Sequence[float]) -> list["Head"]:
        """The head of each setting, learned from all of these clips."""
        x, classes = train.pooled(pool), len(train.classes)
        if self.solver == "sgd":
            return descend(x, train.label, classes, self.norm, settings, self.epochs, self.batch, self.order)
        problem = Problem(x, train.label, classes, self.norm)
        return [problem.solve(strength) for strength in settings]


@dataclass(frozen=True)
class Head:
    """Normalise, then a linear map."""

    shift: Float[Tensor, "d"]
    scale: Float[Tensor, "d"]
    weight: Float[Tensor, "d classes"]
    bias: Float[Tensor, "classes"]
    layer: bool = False  # whether a feature vector is first normalised by itself

    def scores(self, features: Float[Tensor, "v d"]) -> Float[Tensor, "v classes"]:
        return (by_layer(features.double(), self.layer) - self.shift) / self.scale @ self.weight + self.bias


def by_layer(features: Float[Tensor, "v d"], layer: bool) -> Float[Tensor, "v d"]:
    return layer_norm(features, features.shape[1:]) if layer else features


def statistics(x: Float[Tensor, "v d"], norm: Norm) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """The shift and the scale of each feature; a feature that is constant but for rounding is only shifted."""
    if norm != "batch":
        return torch.zeros_like(x[0]), torch.ones_like(x[0])
    shift, deviation = x.mean(0), x.std(0, unbiased=False)
    return shift, torch.where(deviation > 1e-12 * (1 + shift.abs()), deviation, 1.0)


def descend(
    features: Float[Tensor, "v d"],
    label: Int64[Tensor, "v"],
    classes: int,
    norm: Norm,
    rates: Sequence[float],
    epochs: int,
    batch: int,
    order: int,
) -> list[Head]:
    """One head a rate by SGD, all of them side by side on the same batches."""
    x = by_layer(features.double(), norm == "layer")
    shift, scale = statistics(x, norm)
    x = ((x - shift) / scale).float()
    batch = min(batch, len(x))
    weight = torch.zeros(len(rates), x.shape[1], classes)
    bias = torch.zeros(len(rates), 1, classes)
    speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
    rate = torch.tensor(rates)[:, None, None] * batch / 256
    steps = epochs * (len(x) // batch)
    draws = generator(order, "sgd probe")
    for step in range(steps):
        if step % (len(x) // batch) == 0:
            indices = torch.from_numpy(draws.permutation(len(x)))
        first = step % (len(x) // batch) * batch
        some = indices[first : first + batch]
        share = (torch.baddbmm(bias, x[some].expand(len(rates), -1, -1), weight)).softmax(-1)  # r b classes
        share[:, torch.arange(batch), label[some]] -= 1  # the slope of the cross-entropy
        slopes = [torch.einsum("bd,rbc->rdc", x[some], share) / batch, share.mean(1, keepdim=True)]
        now = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        for part, fast, slope in zip((weight, bias), speed, slopes, strict=True):
            fast.mul_(0.9).add_(slope)
            part.sub_(now * fast)
    return [
        Head(shift, scale, w.double(), b.double().squeeze(0), norm == "layer")
        for w, b in zip(weight, bias, strict=True)
    ]


class Problem:
    """Normalised features with their labels, ready to be solved at any strength; a solution starts from the last.

    The work is done on the principal axes of the features, where the curvature of the loss is nearly diagonal; a
    rotation keeps |W|, and with more features than clips the minimum lies in the span of the clips.
    """

    def __init__(
        self, features: Float[Tensor, "v d"], label: Int64[Tensor, "v"], classes: int, norm: Norm = "batch"
    ) -> None:
        self.layer = norm == "layer"
        x = by_layer(features.double(), self.layer)
        self.label = label
        self.shift, self.scale = statistics(x, norm)
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
        return Head(self.shift, self.scale, self.axes @ self.weight, self.bias, self.layer)
