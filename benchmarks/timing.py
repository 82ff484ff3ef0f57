"""How time is taken: processor time on a CPU, which others may share; events on a GPU; the measured in turns."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Work = Callable[[], object]
WARM_UP = 2
BUSY = 1.5  # wall over processor time, from which a figure is flagged


@dataclass(frozen=True)
class Taken:
    """Seconds of one call: of the processor (on a GPU between two events of it), and by the clock on the wall."""

    seconds: float
    wall: float


def take(work: Work, device: torch.device) -> Taken:
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        wall = time.perf_counter()
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        return Taken(begin.elapsed_time(end) / 1e3, time.perf_counter() - wall)
    wall, spent = time.perf_counter(), time.process_time()
    work()
    return Taken(time.process_time() - spent, time.perf_counter() - wall)


def in_turns(
    works: Mapping[str, Work], device: torch.device, rounds: int, least: float = 0.5
) -> dict[str, list[Taken]]:
    """Of every work one figure a round, after `WARM_UP` calls each; the order is reversed at every other turn.

    A figure is the mean of as many calls, equally many of each, as the fastest needs for `least` seconds. The calls of
    a round take turns too, so that what else the machine does falls on all of them.
    """
    warm = {name: [take(work, device) for _ in range(WARM_UP)][-1].seconds for name, work in works.items()}
    calls = max(1, math.ceil(least / max(min(warm.values()), 1e-9)))
    found: dict[str, list[Taken]] = {name: [] for name in works}
    for number in range(rounds):
        turns: dict[str, list[Taken]] = {name: [] for name in works}
        for turn in range(calls):
            for name in reversed([*works]) if (number + turn) % 2 else works:
                turns[name].append(take(works[name], device))
        for name, taken in turns.items():
            found[name].append(mean(taken))
    return found


def mean(taken: Sequence[Taken]) -> Taken:
    return Taken(statistics.fmean(one.seconds for one in taken), statistics.fmean(one.wall for one in taken))


@dataclass(frozen=True)
class Ratio:
    """Quartiles of the ratios of every round."""

    low: float
    median: float
    high: float

    @property
    def distinct(self) -> bool:
        """Whether the quartiles exclude 1."""
        return self.low > 1 or self.high < 1

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def ratio(over: Sequence[Taken], under: Sequence[Taken]) -> Ratio:
    ratios = [a.seconds / b.seconds for a, b in zip(over, under, strict=True)]
    return Ratio(*(statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3))


def median(taken: Sequence[Taken]) -> float:
    return statistics.median(one.seconds for one in taken)


def wall_over_processor(taken: Sequence[Taken]) -> float:
    return statistics.median(one.wall / max(one.seconds, 1e-9) for one in taken)


def gemm_peak(dtype: torch.dtype, device: torch.device, sides: Sequence[int], rounds: int = 5) -> float:
    """FLOPs a second of the fastest product of square matrices of these sides."""
    best = 0.0
    for side in sides:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty(side, side, device=device, dtype=dtype)
        work = lambda a=a, b=b, out=out: torch.mm(a, b, out=out)  # noqa: E731
        work()
        fastest = min(take(work, device).seconds for _ in range(rounds))
        best = max(best, 2 * side**3 / fastest)
    return best
