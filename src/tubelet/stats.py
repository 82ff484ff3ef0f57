"""Statistics over seeds, by SciPy: mean and spread, the paired t-test, and the false discovery rate."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, one a seed. One seed has no interval, so nothing about it is significant."""

    mean: float
    half: float | None  # of the 95 % confidence interval
    seeds: int
    p: float | None = None  # of the paired t-test, two-sided

    @property
    def significant(self) -> bool:
        return self.half is not None and bool(abs(self.mean) > self.half)

    @property
    def verdict(self) -> str:
        return "significant" if self.significant else f"not significant ({self.seeds} seed{'s' * (self.seeds > 1)})"


def paired_t_test(differences: Sequence[float]) -> Difference:
    """Of the differences of pairs, one a seed."""
    count, mean = len(differences), statistics.mean(differences)
    if count < 2:
        return Difference(mean, None, count)
    if max(differences) - min(differences) <= ROUNDING * abs(mean):  # no spread: t is infinite, or 0/0
        return Difference(mean, 0.0, count, float(mean == 0))
    from scipy.stats import ttest_1samp

    test = ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(0.95)
    return Difference(mean, float(high - low) / 2, count, float(test.pvalue))


def significant_after_correction(p_values: Sequence[float], rate: float = 0.05) -> list[bool]:
    """Which tests stay significant when at most this share of those is expected to be false (Benjamini and Hochberg,
    1995)."""
    from scipy.stats import false_discovery_control

    return [bool(p <= rate) for p in false_discovery_control(p_values)] if len(p_values) else []


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the standard deviation over seeds, which one seed does not have."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None
