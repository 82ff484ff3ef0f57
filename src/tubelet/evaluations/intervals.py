"""95 % intervals. Clips of one group are no independent draws, so it is groups that count.

Many groups with mixed outcomes: whole groups are drawn again with replacement, and the percentiles of the mean are the
interval. That is no interval where there are few groups, or where all outcomes are equal: then every draw is the same,
and two right clips would be "100 [100, 100]". There it is, with n for the number of groups,

- of a share (every outcome is right or wrong): Clopper and Pearson's exact interval (Biometrika 26, 1934) of that share
  among n, as Korn and Graubard (Survey Methodology 24, 1998) use it for clustered outcomes. It always covers at least
  95 %, and counts a group as one outcome, however many clips it has.
- of another mean: the t-interval of the groups' means, n - 1 degrees of freedom, weighted as the mean is.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from scipy import special  # not scipy.stats, which takes half a second to import

from tubelet.seeds import generator

Interval = tuple[float, float]
FEW = 10  # groups, of which a bootstrap says too little
METHOD = (
    f"exact (Clopper and Pearson, a group as one outcome) where all outcomes are equal or fewer than {FEW} groups are "
    "right or wrong, of other means of so few groups by the t-distribution"
)


def in_words(samples: int, what: str = "whole groups") -> str:
    """How intervals were made, for a protocol."""
    return f"95 %, {samples} bootstrap samples of {what}; {METHOD}"


def bootstrap_weights(groups: int, *, seed: int, samples: int) -> Float64[np.ndarray, "{samples} {groups}"]:
    """How often each group is in each bootstrap sample."""
    chances = np.full(groups, 1 / groups)
    return generator(seed, "bootstrap").multinomial(groups, chances, size=samples).astype(np.float64)


def percentiles(values: Float64[np.ndarray, "s"]) -> Interval:
    """The interval that holds 95 % of the bootstrap samples."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def exact(share: float, groups: float | int) -> Interval:
    """Clopper and Pearson's interval of a share among so many independent outcomes; both may be fractions."""
    right = share * groups
    low = float(special.betaincinv(right, groups - right + 1, 0.025)) if right > 0 else 0.0
    high = float(special.betaincinv(right + 1, groups - right, 0.975)) if right < groups else 1.0
    return low, high


def of_mean(
    values: Float64[np.ndarray, "v"],
    groups: Sequence[str],
    *,
    seed: int,
    samples: int,
    weights: Float64[np.ndarray, "v"] | None = None,
) -> Interval | None:
    """The interval of a (weighted) mean; None with fewer than two groups, where nothing can be said."""
    number = {group: index for index, group in enumerate(sorted(set(groups)))}
    if len(number) < 2:
        return None
    weights = np.ones(len(values)) if weights is None else weights
    index = np.array([number[group] for group in groups])
    totals = np.bincount(index, weights=values * weights, minlength=len(number))
    sizes = np.bincount(index, weights=weights, minlength=len(number))
    counted = weights > 0
    if says_too_little(values[counted], np.array(groups)[counted].tolist()):
        return of_few(values[counted], totals[sizes > 0], sizes[sizes > 0])
    draws = bootstrap_weights(len(number), seed=seed, samples=samples)
    weight = draws @ sizes
    means = (draws @ totals)[weight > 0] / weight[weight > 0]
    return percentiles(means)


def of_difference(
    own: Mapping[str, Mapping[str, Sequence[int]]],
    other: Mapping[str, Mapping[str, Sequence[int]]],
    *,
    balanced: bool,
    seed: int,
    samples: int = 1000,
) -> tuple[float, Interval | None] | None:
    """By how much the (balanced) accuracy of one classifier exceeds that of another on the same clips, paired by group,
    with its interval; None where the clips are others. Of each group and class is known how many clips are right, of
    how many.

    Whole groups are drawn again, with both classifiers' answers; of fewer than ten it is the t-interval of what each
    group adds to the difference (linearised: sizes of classes are estimates too).
    """
    classes = sorted({name for cells in own.values() for name in cells})
    right, totals = (table(own, classes, part) for part in (0, 1))
    if own.keys() != other.keys() or not np.array_equal(totals, table(other, classes, 1)):
        return None
    gained = right - table(other, classes, 0)  # groups classes
    if not balanced:
        gained, totals = (part.sum(1, keepdims=True) for part in (gained, totals))
    size = totals.sum(0)
    mean = float((gained.sum(0) / size).mean())
    count = len(own)
    if count < 2:
        return mean, None
    added = ((gained - totals * gained.sum(0) / size) / size).mean(1)  # groups: they add up to 0
    if not added.any():  # every group alike
        low, high = exact((mean + 1) / 2, count)
        return mean, (2 * low - 1, 2 * high - 1)
    if count < FEW:
        half = float(special.stdtrit(count - 1, 0.975) * np.sqrt(count / (count - 1) * (added**2).sum()))
        return mean, (max(-1.0, mean - half), min(1.0, mean + half))
    draws = bootstrap_weights(count, seed=seed, samples=samples)
    sizes = draws @ totals
    with np.errstate(invalid="ignore"):
        shares = np.where(sizes > 0, draws @ gained / sizes, np.nan)
    return mean, percentiles(np.nanmean(shares, axis=1))


def table(
    groups: Mapping[str, Mapping[str, Sequence[int]]], classes: Sequence[str], part: int
) -> Float64[np.ndarray, "g c"]:
    """Groups by classes: how many clips are right (0), or there are (1)."""
    return np.array([[groups[group].get(name, (0, 0))[part] for name in classes] for group in sorted(groups)], float)


def says_too_little(values: Float64[np.ndarray, "v"], groups: Sequence[str]) -> bool:
    """Whether drawing these groups again would tell less than there is to fear."""
    return len(set(groups)) < FEW or bool(np.ptp(values) == 0)


def of_few(
    values: Float64[np.ndarray, "v"], totals: Float64[np.ndarray, "g"], sizes: Float64[np.ndarray, "g"]
) -> Interval | None:
    """By the sums of the values and of the weights of each group."""
    if len(sizes) < 2:
        return None
    mean = float(totals.sum() / sizes.sum())
    if np.isin(values, (0.0, 1.0)).all() or (np.ptp(values) == 0 and 0 <= mean <= 1):
        return exact(mean, len(sizes))
    spread = sizes / sizes.sum() * (totals / sizes - mean)
    error = float(np.sqrt(len(sizes) / (len(sizes) - 1) * (spread**2).sum()))
    half = float(special.stdtrit(len(sizes) - 1, 0.975)) * error
    low, high = (0.0, 1.0) if values.min() >= 0 and values.max() <= 1 else (-np.inf, np.inf)
    return max(low, mean - half), min(high, mean + half)
