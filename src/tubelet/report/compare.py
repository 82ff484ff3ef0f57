"""Runs beside each other: the mean and the spread over seeds of every method, and differences paired by seed.

Runs that differ in nothing but their seed are one method. The spread is the standard deviation over seeds. A difference
is "shown" where the 95 % t-interval of the differences, seed by seed, excludes 0, else "not shown at n seeds". What
makes a comparison unfair (other steps, other data, other settings of a probe) is said above the numbers.
"""

import itertools
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tubelet.errors import RunError
from tubelet.escape import latex, markdown
from tubelet.report.folder import Record, Run, number
from tubelet.report.statistics import Difference as OverSeeds
from tubelet.report.statistics import difference
from tubelet.report.tables import is_chance, known_as, level_of, place, short, shown, spelled

SAME = ("batch", "accumulate", "clip.", "encoder.", "encoder", "data.sampling.", "precision")  # fields of the recipe
PROTOCOL = ("split", "mask", "grid", "selection", "templates", "views", "normalised", "head")  # of a result


@dataclass(frozen=True)
class Method:
    """The runs of one recipe, by seed."""

    name: str
    runs: dict[int, Run]


@dataclass(frozen=True)
class Value:
    """A metric of a method."""

    by_seed: dict[int, float]
    interval: tuple[float, float] | None = None  # of the clips, where there is one seed

    @property
    def mean(self) -> float:
        return statistics.mean(self.by_seed.values())

    @property
    def spread(self) -> float | None:
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class Difference:
    """`other` less `one`, seed by seed; `half` is half of the 95 % t-interval of their mean."""

    metric: tuple[str, str]
    one: str
    other: str
    by_seed: dict[int, float]

    @property
    def over_seeds(self) -> OverSeeds:
        return difference(list(self.by_seed.values()))

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
    differences: list[Difference]  # of every method to the first
    unfair: list[str]

    @property
    def others(self) -> list[str]:
        """What needs no training, in the order it appears."""
        names = [method.name for method in self.methods]
        return list(dict.fromkeys(name for row in self.values.values() for name in row if name not in names))


def compare(runs: Sequence[Run]) -> Comparison:
    """`RunError` where there is nothing to compare."""
    methods = group(runs)
    values: dict[tuple[str, str], dict[str, Value]] = {}
    for metric in metrics(runs):
        row = {method.name: value for method in methods if (value := measured(method, *metric)) is not None}
        values[metric] = row | beside(methods, *metric)
    if not values:
        raise RunError("none of these runs has a result; measure them with `tubelet evaluate RUN linear`")
    first, *rest = methods
    differences = [found for metric in values for other in rest if (found := paired(first, other, metric)) is not None]
    return Comparison(methods, values, differences, list(unfair(methods)))


def group(runs: Sequence[Run]) -> list[Method]:
    """Runs of one recipe and corpus, whatever their seed; the same seed twice is two methods."""
    found: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        values = {name: value for name, value in run.values.items() if name != "seed"}
        what = json.dumps([run.recipe.get("recipe"), values, run.corpus.get("fingerprint")], sort_keys=True)
        seeds = [int(other.values.get("seed") or 0) for other in found.get((what, 0), [])]
        copy = seeds.count(int(run.values.get("seed") or 0))
        found.setdefault((what, copy), []).append(run)
    methods = [Method(named(some), {int(run.values.get("seed") or 0): run for run in some}) for some in found.values()]
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        methods = [Method(" + ".join(run.name for run in method.runs.values()), method.runs) for method in methods]
    return methods


def named(runs: Sequence[Run]) -> str:
    """What the names of the runs begin with alike."""
    columns = zip(*(run.name for run in runs), strict=False)
    common = "".join(letters[0] for letters in itertools.takewhile(lambda letters: len(set(letters)) == 1, columns))
    return runs[0].name if len(runs) == 1 else common.rstrip("-_ ./") or runs[0].name


def metrics(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Every number of every entry, but for chance levels."""
    found: dict[tuple[str, str], None] = {}
    for entry in sorted({name for run in runs for name in run.results}, key=place):
        for run in runs:
            for name, value in ((run.results.get(entry) or {}).get("metrics") or {}).items():
                if number(value) and not is_chance(name):
                    found[entry, name] = None
    return list(found)


def measured(method: Method, entry: str, metric: str) -> Value | None:
    by_seed, interval = {}, None
    for seed, run in method.runs.items():
        result = run.results.get(entry) or {}
        if number(value := (result.get("metrics") or {}).get(metric)):
            by_seed[seed] = float(value)
            bounds = (result.get("intervals") or {}).get(metric)
            interval = (float(bounds[0]), float(bounds[1])) if bounds else None
    return Value(by_seed, interval if len(by_seed) == 1 else None) if by_seed else None


def beside(methods: Sequence[Method], entry: str, metric: str) -> dict[str, Value]:
    """The baselines and chance, each over the seeds that it was measured with; each method's own where they differ, as
    the random initialisations of two sizes do."""
    found: dict[str, dict[str, dict[int, float]]] = {}  # name -> method -> seed -> value
    for method in methods:
        for seed, run in method.runs.items():
            result = run.results.get(entry) or {}
            levels: dict[str, Record] = {
                known_as(name): part.get("metrics") or {} for name, part in (result.get("baselines") or {}).items()
            }
            own: Record = result.get("metrics") or {}
            levels["chance"] = {metric: own.get(level_of(result, metric))}
            for name, numbers in levels.items():
                if number(value := numbers.get(metric)):
                    found.setdefault(name, {}).setdefault(method.name, {})[seed] = float(value)
    values: dict[str, Value] = {}
    for name, parts in found.items():
        common: dict[int, float] = {}
        pairs = [pair for part in parts.values() for pair in part.items()]
        if all(common.setdefault(seed, value) == value for seed, value in pairs):
            values[name] = Value(common)
        else:
            values |= {f"{name} of {method}": Value(part) for method, part in parts.items()}
    return values


def paired(first: Method, other: Method, metric: tuple[str, str]) -> Difference | None:
    """By the seeds that both have; a method of one seed each is paired whatever the seeds are."""
    one, two = measured(first, *metric), measured(other, *metric)
    if one is None or two is None:
        return None
    if len(one.by_seed) == len(two.by_seed) == 1:
        return Difference(metric, first.name, other.name, {next(iter(two.by_seed)): two.mean - one.mean})
    both = sorted(one.by_seed.keys() & two.by_seed.keys())
    by_seed = {seed: two.by_seed[seed] - one.by_seed[seed] for seed in both}
    return Difference(metric, first.name, other.name, by_seed) if by_seed else None


def unfair(methods: Sequence[Method]) -> Iterator[str]:
    """What differs between the methods that ought to be the same, in sentences."""
    every = [(method, run) for method in methods for run in method.runs.values()]
    for what, pick in (
        ("corpora", lambda run: run.corpus.get("fingerprint")),
        ("steps", lambda run: run.recipe.get("steps")),
        ("versions of torch", lambda run: (run.recipe.get("versions") or {}).get("torch")),
    ):
        yield from told(what, {method.name: pick(run) for method, run in every})
    names = dict.fromkeys(name for _, run in every for name in run.values if name.startswith(SAME))
    for name in names:
        yield from told(name, {method.name: run.values.get(name) for method, run in every})
    for entry in dict.fromkeys(entry for _, run in every for entry in run.results):
        results = {method.name: result for method, run in every if (result := run.results.get(entry))}
        for part in PROTOCOL:
            said = {name: (result.get("protocol") or {}).get(part) for name, result in results.items()}
            yield from told(f"{part} of {entry}", said)
        used = {name: counted(result) for name, result in results.items()}
        yield from told(f"clips used by {entry}", used)
    if len({len(method.runs) for method in methods}) > 1:
        yield from told("numbers of seeds", {method.name: len(method.runs) for method in methods})


def counted(result: Record) -> str:
    counts = result.get("counts") or {}
    parts = [f"{part['used']} of {name}" for name, part in counts.items() if isinstance(part, dict) and "used" in part]
    return ", ".join(parts)


def told(what: str, values: Mapping[str, Any]) -> Iterator[str]:
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
    tables = [value_table(found)] + ([difference_table(found)] if found.differences else [])
    for header, rows in tables:
        body = "\n".join(" & ".join(map(latex, row)) + r" \\" for row in rows)
        parts.append(
            f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}\n\\toprule\n"
            + " & ".join(map(latex, header))
            + f" \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}"
        )
    return "\n\n".join(parts) + "\n"


def value_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    names = [*(method.name for method in found.methods), *found.others]
    rows = []
    for (entry, metric), row in found.values.items():
        rows.append([label(entry, metric), *(value_text(metric, row.get(name)) for name in names)])
    return ["", *names], rows


def difference_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    rows = [[label(*one.metric), one.other, *difference_text(one), one.verdict] for one in found.differences]
    return ["", "method", "difference", "by seed", ""], rows


def label(entry: str, metric: str) -> str:
    return f"{entry}: {spelled(metric)}"


def value_text(metric: str, value: Value | None) -> str:
    if value is None:
        return ""
    text = shown(metric, value.mean)
    if value.spread is not None and value.spread > 0:
        return f"{text.removesuffix(' %')} ± {shown(metric, value.spread)}"
    if value.interval is not None:
        low, high = (shown(metric, bound).removesuffix(" %") for bound in value.interval)
        return f"{text} [{low}, {high}]"
    return text


def difference_text(one: Difference) -> tuple[str, str]:
    metric = one.metric[1]
    half = "" if one.half is None else f" ± {points(metric, one.half).lstrip('+')}"
    return points(metric, one.mean) + half, ", ".join(points(metric, value) for value in one.by_seed.values())


def points(metric: str, value: float) -> str:
    """A difference with its sign: points for shares, else in three figures."""
    share = shown(metric, 0.5).endswith("%")
    return f"{100 * value:+.1f}" if share else f"{value:+.3g}"


def seeds(found: Comparison) -> str:
    return ", ".join(f"{method.name}: {', '.join(map(str, sorted(method.runs)))}" for method in found.methods)


def pipes(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(map(markdown, cells))} |"

    return [line(header), "|" + "---|" * len(header), *map(line, rows)]
