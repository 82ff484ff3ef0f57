"""The tables that `tubelet demo` ends with: what was measured of its runs, and by how much they beat baselines."""

import statistics
from collections.abc import Mapping, Sequence

from tubelet.reports.tables import TextTable
from tubelet.results import Result
from tubelet.stats import paired_t_test

Results = Mapping[str, Result]  # by entry
COLUMNS = {  # of the table: evaluation and metric
    "R²": ("reconstruction", "r2"),
    "probe\nconcat": ("linear", "temporal_concat.accuracy"),
    "probe\nmean": ("linear", "mean.accuracy"),
    "kNN\nconcat": ("knn", "temporal_concat.accuracy"),
    "text to\nvideo\nR@10": ("retrieval", "text_to_video.r@10"),
}
UNTRAINED = {"random": "random init", "mean_image": "mean image"}


def results_table(results: Mapping[str, Sequence[Results]]) -> TextTable:
    """Each run (the mean of its seeds, and the spread), and under it what needs no training."""
    rows: list[tuple[str, list[list[float | None]]]] = []  # per row: per column: per seed
    for run, seeds in results.items():
        rows.append((run, [[number(one[part], metric) for one in seeds] for part, metric in COLUMNS.values()]))
        rows += [(f"  {title}", of_baseline(seeds, name)) for name, title in UNTRAINED.items()]
    *_, last = results.values()
    rows.append(("supervised ceiling", of_baseline(last, "ceiling")))
    chance = [
        [one[part].metrics[metric].chance for one in last if metric in one[part].metrics]
        for part, metric in COLUMNS.values()
    ]
    note = "" if len(last) == 1 else f"\nmean of {len(last)} seeds ± standard deviation"
    return TextTable(
        f"held-out clips, percent; R² of the reconstruction, probe and kNN: motion{note}",
        ["", *COLUMNS],
        [[name, *map(mean_text, row)] for name, row in (*rows, ("chance", chance))],
    )


def margins(results: Mapping[str, Sequence[Results]], seeds: Sequence[int]) -> TextTable:
    """By how many points each run's motion probe beats the baselines of its own seed."""
    rows = []
    for run, found in results.items():
        for pool in ("concat", "mean"):
            part, metric = COLUMNS[f"probe\n{pool}"]
            for name, title in UNTRAINED.items():
                points = [
                    100 * (one[part].metrics[metric].value - (baseline(one, name, part, metric) or 0)) for one in found
                ]
                margin = [*(f"{point:+.1f}" for point in points), interval(points)]
                rows.append([f"{run}, {pool}: over {title}", *margin])
    return TextTable("margins in points, seed by seed; mean ± 95 % t-interval", ["", *map(str, seeds), "mean"], rows)


def of_baseline(seeds: Sequence[Results], name: str) -> list[list[float | None]]:
    return [[baseline(one, name, part, metric) for one in seeds] for part, metric in COLUMNS.values()]


def baseline(results: Results, name: str, part: str, metric: str) -> float | None:
    found = results[part].baselines.get(name)
    return None if found is None else number(found, metric)


def number(result: Result, metric: str) -> float | None:
    return result.metrics[metric].value if metric in result.metrics else None


def mean_text(values: Sequence[float | None]) -> str:
    """The mean in percent, with the standard deviation over seeds where they differ."""
    there = [100 * value for value in values if value is not None]
    if not there:
        return ""
    mean = f"{statistics.mean(there):.1f}"
    return mean if max(there) == min(there) else f"{mean} ± {statistics.stdev(there):.1f}"


def interval(points: Sequence[float]) -> str:
    """The mean of paired differences and half the width of its t-interval."""
    found = paired_t_test(points)
    return f"{found.mean:+.1f}" + (f" ± {found.half:.1f}" if found.half is not None else "")
