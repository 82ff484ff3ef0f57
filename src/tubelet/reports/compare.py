"""Runs side by side: the mean and the spread over seeds of every method, and differences paired by seed.

Runs that differ in nothing but their seed are one method. The spread is the standard deviation over seeds. A difference
is significant where the 95 % interval of the paired t-test, seed by seed, excludes 0. What makes a comparison unfair
(other steps, other data, other settings of a probe) is said above the numbers.
"""

import itertools
import json
import math
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tubelet.errors import RunError
from tubelet.escape import latex, markdown
from tubelet.files import write_atomically
from tubelet.reports.frame import frame
from tubelet.reports.tables import known_as, metric_title, pipes, rank_of, short, used
from tubelet.results import FRACTION, Metric, Result, format_value
from tubelet.run_record import RunRecord, read_runs
from tubelet.stats import Difference as OverSeeds
from tubelet.stats import paired_t_test

if TYPE_CHECKING:
    import pandas as pd

SAME = ("batch", "accumulate", "clip.", "encoder.", "encoder", "data.sampling.", "precision")  # fields of the recipe
PROTOCOL = ("split", "mask", "grid", "selection", "templates", "views", "normalised", "head")  # of a result


@dataclass(frozen=True)
class Method:
    """The runs of one recipe, by seed."""

    name: str
    runs: dict[int, RunRecord]


@dataclass(frozen=True)
class Value:
    """A metric of a method."""

    by_seed: dict[int, float]
    unit: str = FRACTION
    interval: tuple[float, float] | None = None  # of the clips, where there is one seed

    @property
    def mean(self) -> float:
        return statistics.mean(self.by_seed.values())

    @property
    def spread(self) -> float | None:
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class MetricDifference:
    """`other` less `one`, seed by seed; `half` is half of the 95 % t-interval of their mean."""

    metric: tuple[str, str]
    one: str
    other: str
    by_seed: dict[int, float]
    unit: str = FRACTION

    @property
    def over_seeds(self) -> OverSeeds:
        return paired_t_test(list(self.by_seed.values()))

    @property
    def mean(self) -> float:
        return self.over_seeds.mean

    @property
    def half(self) -> float | None:
        return self.over_seeds.half

    @property
    def verdict(self) -> str:
        return self.over_seeds.verdict


@dataclass(frozen=True)
class Comparison:
    """Everything by metric: (entry of results.json, name)."""

    methods: list[Method]
    values: dict[tuple[str, str], dict[str, Value]]  # metric -> method, baseline or "chance" -> value
    differences: list[MetricDifference]  # of every method to the first
    unfair: list[str]
    frame: "pd.DataFrame"  # of `tubelet.reports.frame`, with a column `method`

    @property
    def others(self) -> list[str]:
        """What needs no training, in the order it appears."""
        names = [method.name for method in self.methods]
        return list(dict.fromkeys(name for row in self.values.values() for name in row if name not in names))

    def __str__(self) -> str:
        return as_markdown(self)


def compare(runs: Sequence[RunRecord | os.PathLike[str] | str]) -> Comparison:
    """Of run folders, or of what was read of them; `RunError` where there is nothing to compare."""
    records = [run for run in runs if isinstance(run, RunRecord)] or read_runs(map(Path, runs))  # type: ignore[arg-type]
    methods = group(records)
    data = frame(records)
    method_of = {run.name: method.name for method in methods for run in method.runs.values()}
    data = data[data.value.notna()].assign(method=data.run.map(method_of))
    if data.empty:
        raise RunError("none of these runs has a result; measure them with `tubelet evaluate RUN linear`")
    groups = dict(list(data.groupby(["entry", "metric"], sort=False)))
    values = {metric: values_of(groups[metric]) for metric in sorted(groups, key=lambda metric: rank_of(metric[0]))}
    first, *rest = methods
    differences = [
        found
        for metric, row in values.items()
        for other in rest
        if (found := paired(first.name, other.name, metric, row))
    ]
    return Comparison(methods, values, differences, list(unfair(methods)), data)


def values_of(rows: "pd.DataFrame") -> dict[str, Value]:
    """Of one metric: the methods, then the baselines and chance, each over the seeds that it was measured with. What
    differs between the methods is each method's own, as the random initialisations of two sizes are."""
    unit, own = rows.unit.iloc[0], rows[rows.baseline == ""]
    values: dict[str, Value] = {}
    for name, some in own.groupby("method", sort=False):
        low, high = some.low.iloc[0], some.high.iloc[0]
        interval = (float(low), float(high)) if len(some) == 1 and not math.isnan(low) else None
        values[name] = Value(seeds_of(some), unit, interval)
    known = own[own.chance.notna()]
    chance = known.assign(value=known.chance)
    for baseline, some in [*rows[rows.baseline != ""].groupby("baseline", sort=False), ("chance", chance)]:
        name = known_as(baseline)
        if not some.empty and (some.groupby("seed").value.nunique() == 1).all():
            values[name] = Value(seeds_of(some), unit)
        else:
            values |= {
                f"{name} of {method}": Value(seeds_of(part), unit)
                for method, part in some.groupby("method", sort=False)
            }
    return values


def seeds_of(rows: "pd.DataFrame") -> dict[int, float]:
    return {int(seed): float(value) for seed, value in zip(rows.seed, rows.value, strict=True)}


def group(runs: Sequence[RunRecord]) -> list[Method]:
    """Runs of one recipe and corpus, whatever their seed; the same seed twice is two methods."""
    found: dict[tuple[str, int], list[RunRecord]] = {}
    for run in runs:
        values = {name: value for name, value in run.values.items() if name != "seed"}
        what = json.dumps([run.recipe.get("recipe"), values, run.corpus.get("fingerprint")], sort_keys=True)
        seeds = [other.seed for other in found.get((what, 0), [])]
        copy = seeds.count(run.seed)
        found.setdefault((what, copy), []).append(run)
    methods = [Method(common_name(some), {run.seed: run for run in some}) for some in found.values()]
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        methods = [Method(" + ".join(run.name for run in method.runs.values()), method.runs) for method in methods]
    return methods


def common_name(runs: Sequence[RunRecord]) -> str:
    """What the names of the runs begin with alike."""
    columns = zip(*(run.name for run in runs), strict=False)
    common = "".join(letters[0] for letters in itertools.takewhile(lambda letters: len(set(letters)) == 1, columns))
    return runs[0].name if len(runs) == 1 else common.rstrip("-_ ./") or runs[0].name


def paired(first: str, other: str, metric: tuple[str, str], row: Mapping[str, Value]) -> MetricDifference | None:
    """By the seeds that both have; methods of one seed each are paired whatever the seeds are."""
    if first not in row or other not in row:
        return None
    one, two = row[first], row[other]
    if len(one.by_seed) == len(two.by_seed) == 1:
        return MetricDifference(metric, first, other, {next(iter(two.by_seed)): two.mean - one.mean}, one.unit)
    both = sorted(one.by_seed.keys() & two.by_seed.keys())
    by_seed = {seed: two.by_seed[seed] - one.by_seed[seed] for seed in both}
    return MetricDifference(metric, first, other, by_seed, one.unit) if by_seed else None


def unfair(methods: Sequence[Method]) -> Iterator[str]:
    """What differs between the methods that ought to be the same, in sentences."""
    every = [(method, run) for method in methods for run in method.runs.values()]
    for what, pick in (
        ("corpora", lambda run: run.corpus.get("fingerprint")),
        ("steps", lambda run: run.recipe.get("steps")),
        ("versions of torch", lambda run: (run.recipe.get("versions") or {}).get("torch")),
    ):
        yield from differing(what, {method.name: pick(run) for method, run in every})
    names = dict.fromkeys(name for _, run in every for name in run.values if name.startswith(SAME))
    for name in names:
        yield from differing(name, {method.name: run.values.get(name) for method, run in every})
    for entry in dict.fromkeys(entry for _, run in every for entry in run.results):
        results = {method.name: result for method, run in every if (result := run.results.get(entry))}
        for part in PROTOCOL:
            said = {name: result.protocol.get(part) for name, result in results.items()}
            yield from differing(f"{part} of {entry}", said)
        counts = {name: counted(result) for name, result in results.items()}
        yield from differing(f"clips used by {entry}", counts)
    if len({len(method.runs) for method in methods}) > 1:
        yield from differing("numbers of seeds", {method.name: len(method.runs) for method in methods})


def counted(result: Result) -> str:
    return ", ".join(f"{part['used']} of {name}" for name, part in result.counts.items() if used(part))


def differing(what: str, values: Mapping[str, Any]) -> Iterator[str]:
    """One sentence where they differ."""
    if len({json.dumps(value, sort_keys=True, default=str) for value in values.values()}) > 1:
        yield f"{what} differ: " + ", ".join(f"{name} {short(value)}" for name, value in values.items())


def as_markdown(found: Comparison) -> str:
    """Both tables as text that every forge draws."""
    lines = ["# Comparison", ""]
    lines += [f"- **Not the same:** {markdown(sentence)}" for sentence in found.unfair] + [""] * bool(found.unfair)
    lines += [
        f"Mean ± standard deviation over seeds ({markdown(seeds(found))}); with one seed, the 95 % interval of the "
        "clips.",
        "",
    ]
    header, rows = value_table(found)
    lines += pipes(header, rows)
    if found.differences:
        lines += [
            "",
            f"Difference to {markdown(found.methods[0].name)}, paired by seed, with half of the 95 % t-interval:",
            "",
        ]
        header, rows = difference_table(found)
        lines += pipes(header, rows)
    return "\n".join(lines) + "\n"


def as_latex(found: Comparison) -> str:
    """Both tables for a paper, with booktabs."""
    parts = ["% needs \\usepackage{booktabs}"]
    for header, rows in tables_of(found):
        body = "\n".join(" & ".join(map(latex, row)) + r" \\" for row in rows)
        parts.append(
            f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}\n\\toprule\n"
            + " & ".join(map(latex, header))
            + f" \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}"
        )
    return "\n\n".join(parts) + "\n"


def write_comparison(found: Comparison, folder: Path) -> list[Path]:
    """comparison.md and comparison.tex. An existing file is replaced only if it is a comparison."""
    texts = {folder / "comparison.md": as_markdown(found), folder / "comparison.tex": as_latex(found)}
    for path, text in texts.items():
        if path.exists() and path.read_text(encoding="utf-8").split("\n")[0] != text.split("\n")[0]:
            raise RunError(f"{path} exists and is no comparison; name another folder with --out")
    for path, text in texts.items():
        write_atomically(path, text.encode())
    return list(texts)


def tables_of(found: Comparison) -> list[tuple[list[str], list[list[str]]]]:
    """Header and rows of the means, and of the differences where there are any."""
    return [value_table(found)] + ([difference_table(found)] if found.differences else [])


def value_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    names = [*(method.name for method in found.methods), *found.others]
    rows = []
    for (entry, metric), row in found.values.items():
        rows.append([label(entry, metric), *(value_text(row.get(name)) for name in names)])
    return ["", *names], rows


def difference_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    rows = [[label(*one.metric), one.other, *difference_text(one), one.verdict] for one in found.differences]
    return ["", "method", "difference", "by seed", ""], rows


def label(entry: str, metric: str) -> str:
    return f"{entry}: {metric_title(metric)}"


def value_text(value: Value | None) -> str:
    if value is None:
        return ""
    if value.spread is not None and value.spread > 0:
        text = format_value(value.mean, value.unit)
        return f"{text.removesuffix(' %')} ± {format_value(value.spread, value.unit)}"
    return str(Metric(value.mean, value.interval, unit=value.unit))


def difference_text(one: MetricDifference) -> tuple[str, str]:
    half = "" if one.half is None else f" ± {points(one.half, one.unit).lstrip('+')}"
    return points(one.mean, one.unit) + half, ", ".join(points(value, one.unit) for value in one.by_seed.values())


def points(value: float, unit: str) -> str:
    """A difference with its sign: points for fractions, else in three figures."""
    return f"{100 * value:+.1f}" if unit == FRACTION else f"{value:+.3g}"


def seeds(found: Comparison) -> str:
    return ", ".join(f"{method.name}: {', '.join(map(str, sorted(method.runs)))}" for method in found.methods)
