"""What may be said over seeds: the spread, and whether a difference is shown (a paired t-interval that excludes 0)."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One way minus another, over the seeds that both have. With one seed there is no interval, so nothing is shown."""

    mean: float
    half: float | None  # of the 95 % t-interval
    seeds: int
    p: float | None = None  # of the paired t-test, two-sided

    @property
    def shown(self) -> bool:
        return self.half is not None and bool(abs(self.mean) > self.half)

    @property
    def verdict(self) -> str:
        return "shown" if self.shown else f"not shown at {self.seeds} seed{'s' * (self.seeds > 1)}"


def difference(values: Sequence[float]) -> Difference:
    """Of paired differences, one a seed."""
    if len(values) < 2:
        return Difference(values[0], None, 1)
    from scipy.stats import t

    mean, error, freedom = statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5, len(values) - 1
    p = 2 * float(t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    return Difference(mean, float(t.ppf(0.975, freedom)) * error, len(values), p)


def discoveries(ps: Sequence[float], rate: float = 0.05) -> list[bool]:
    """Which of these tests stand when at most this share of those that stand is expected to be false (Benjamini and
    Hochberg, 1995)."""
    from scipy.stats import false_discovery_control

    return [bool(p <= rate) for p in false_discovery_control(ps)] if len(ps) else []


def paired(one: Mapping[int, float], other: Mapping[int, float]) -> Difference | None:
    """The difference of two ways, by seed; None where they share no seed."""
    both = sorted(one.keys() & other.keys())
    return difference([one[seed] - other[seed] for seed in both]) if both else None


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the standard deviation over seeds, which one seed does not have."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None
