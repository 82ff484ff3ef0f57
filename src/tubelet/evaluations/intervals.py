"""95 % intervals: whole groups are drawn again with replacement, for clips of one group are no independent draws."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from tubelet.seeds import generator

BOUNDS = (2.5, 97.5)


def drawn_again(groups: int, *, seed: int, samples: int) -> Float64[np.ndarray, "{samples} {groups}"]:
    """How often each group is in each bootstrap sample."""
    chances = np.full(groups, 1 / groups)
    return generator(seed, "bootstrap").multinomial(groups, chances, size=samples).astype(np.float64)


def of_mean(
    values: Float64[np.ndarray, "v"],
    groups: Sequence[str],
    *,
    seed: int,
    samples: int,
    weights: Float64[np.ndarray, "v"] | None = None,
) -> list[float] | None:
    """The interval of a (weighted) mean; None with fewer than two groups, where nothing can be said."""
    number = {group: place for place, group in enumerate(sorted(set(groups)))}
    if len(number) < 2:
        return None
    weights = np.ones(len(values)) if weights is None else weights
    place = np.array([number[group] for group in groups])
    totals = np.bincount(place, weights=values * weights, minlength=len(number))
    sizes = np.bincount(place, weights=weights, minlength=len(number))
    draws = drawn_again(len(number), seed=seed, samples=samples)
    weight = draws @ sizes
    means = (draws @ totals)[weight > 0] / weight[weight > 0]
    return [float(bound) for bound in np.percentile(means, BOUNDS)]
