"""What a study shows, as Markdown and as a page: a row a variant, a column a measure, and the paired differences.

All numbers come from two frames: `metrics`, a row a metric of a trial, and `curves`, a row a point of a loss. Start
reading at `tables`; both forms are made of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from tubelet.errors import RunError
from tubelet.escape import code_block, markdown
from tubelet.files import write_atomically
from tubelet.reports.document import document, is_another
from tubelet.reports.figures import SERIES, Level, Line, Span, curves, spans
from tubelet.stats import Difference, mean_and_std, paired_t_test, significant_after_correction

GENERATOR = "tubelet study"
LOG = "log"
BASELINE = ".baseline"  # ends the name of a loss's baseline in the log
UNTRAINED = "untrained"
BASELINES = {
    UNTRAINED: "random",
    "mean image": "mean_image",
    "raw pixels": "raw_pixels",
    "difference image": "difference_image",
}
CORRECTED = "†"
SAME = 0.005  # how far one baseline may lie from itself on another machine


@dataclass(frozen=True)
class Column:
    title: str
    entry: str  # of a trial's results
    metric: str
    percent: bool = True


@dataclass(frozen=True)
class Grid:
    """The trials of a study that are finished, and what was declared."""

    name: str
    question: str
    variants: Mapping[str, str]  # the overrides of each
    columns: tuple[Column, ...]
    seeds: tuple[int, ...]
    trials: Mapping[tuple[str, int], Mapping[str, Any]]  # by variant and seed: how it was made
    metrics: pd.DataFrame  # variant, seed, entry, baseline, metric, value
    curves: pd.DataFrame  # variant, seed, term, step, value
    commands: Mapping[str, Sequence[str]]  # of the first seed of each variant
    differences: tuple[tuple[str, str], ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    plotted: tuple[str, ...] = ()  # terms of the log
    again: str = "tubelet study STUDY --on CORPUS --out OUT"

    @cached_property
    def series(self) -> dict[tuple[str, str, str, str], pd.Series]:
        """Every metric by seed: of each variant, and of the baselines that were measured with it."""
        table = pd.concat([self.metrics, endings(self.curves)], ignore_index=True)
        table = table[np.isfinite(table["value"].astype(float))].sort_values("seed", kind="stable")
        keys = ["variant", "entry", "metric", "baseline"]
        return {key: rows.set_index("seed")["value"] for key, rows in table.groupby(keys, sort=False)}

    def values(self, variant: str, column: Column, baseline: str = "") -> pd.Series:
        """The metric by seed, of the variant or of a baseline that was measured with it."""
        empty = pd.Series(dtype=float, index=pd.Index([], dtype=int))
        return self.series.get((variant, column.entry, column.metric, baseline), empty)

    def of_baseline(self, column: Column, baseline: str) -> pd.Series:
        """By seed, where all variants have the same: those that differ in their clips or their encoder do not."""
        found = pd.concat({variant: self.values(variant, column, baseline) for variant in self.variants})
        by_seed = found.groupby(level=1)
        same = bool(((by_seed.max() - by_seed.min()) < SAME).all())
        return by_seed.first() if same else found.iloc[:0]

    @property
    def expected(self) -> int:
        return len(self.variants) * len(self.seeds)


def endings(curves: pd.DataFrame) -> pd.DataFrame:
    """Of the losses of each run, the mean over the last tenth of the steps, relative to that of the mean-prediction
    baseline: rows of the entry `log`."""
    keys = ["variant", "seed", "term"]
    last = curves.groupby(keys)["step"].transform("max")
    means = curves[curves["step"] > 0.9 * last].groupby(keys)["value"].mean().unstack("term")
    shares = {term: means[term] / means[term + BASELINE] for term in means if term + BASELINE in means}
    rows = pd.DataFrame(shares, index=means.index).rename_axis(columns="metric").stack().rename("value").reset_index()
    return rows.assign(entry=LOG, baseline="")


@dataclass(frozen=True)
class StudyTable:
    title: str
    note: str
    head: list[str]
    rows: list[list[str]]


def tables(grid: Grid) -> list[StudyTable]:
    """The means, the margins over the untrained encoder, and the declared differences."""
    measured = [c for c in grid.columns if any(len(grid.values(variant, c)) for variant in grid.variants)]
    probed = [c for c in measured if any(len(grid.values(variant, c, "random")) for variant in grid.variants)]
    rows = compared(grid)
    kept = corrected(rows)
    found = [StudyTable("Results", note(grid), ["", "seeds", *(c.title for c in measured)], means(grid, measured))]
    for title, columns, names in (
        (f"Difference to the {UNTRAINED} encoder, paired by seed", probed, list(grid.variants)),
        ("Differences between variants, paired by seed", measured, [minus(*pair) for pair in grid.differences]),
    ):
        lines = [
            [name, *(spelled_difference(rows.get((name, c)), c, (name, c) in kept) for c in columns)]
            for name in names
            if any((name, c) in rows for c in columns)
        ]
        if lines:
            found.append(StudyTable(title, DIFFERENCE, ["", *(c.title for c in columns)], lines))
    return found


Rows = dict[tuple[str, Column], Difference]  # by what is compared and the measure


def compared(grid: Grid) -> Rows:
    """Each variant with its untrained encoder, under the variant's own name, and each declared pair, by seed."""
    rows: Rows = {}
    for column in grid.columns:
        pairs = {name: (grid.values(name, column), grid.values(name, column, "random")) for name in grid.variants}
        pairs |= {
            minus(*pair): (grid.values(pair[0], column), grid.values(pair[1], column)) for pair in grid.differences
        }
        for name, (one, other) in pairs.items():
            if len(by_seed := (one - other).dropna()):
                rows[name, column] = paired_t_test(by_seed.tolist())
    return rows


def minus(one: str, other: str) -> str:
    return f"{one} − {other}"


def corrected(rows: Rows) -> set[tuple[str, Column]]:
    """Those that stay significant among all of their measure on the page, after correction for so many tests."""
    found = set()
    for column in {column for _, column in rows}:
        tested = {name: row.p for (name, own), row in rows.items() if own == column and row.p is not None}
        kept = significant_after_correction(list(tested.values()))
        found |= {(name, column) for name, stays in zip(tested, kept, strict=True) if stays}
    return found


DIFFERENCE = (
    "Mean of the paired differences ± half the 95 % confidence interval (paired t-test). Bold: significant, the "
    "interval excludes 0; all else is not significant with this many seeds. One seed has no interval. "
    f"{CORRECTED}: also significant after FDR correction, among all differences of its column in both tables, at a "
    "false discovery rate of 5 %."
)


def note(grid: Grid) -> str:
    percent = "In percent, mean over seeds ± standard deviation."
    return f"{percent} {len(grid.trials)} of {grid.expected} trials are finished."


def means(grid: Grid, columns: Sequence[Column]) -> list[list[str]]:
    rows = []
    for variant in grid.variants:
        seeds = sum(own == variant for own, _ in grid.trials)
        row = [spelled(grid.values(variant, column), column) for column in columns] if seeds else ["not run"]
        rows.append([variant, str(seeds), *row, *[""] * (len(columns) - len(row))])
    for title, name in BASELINES.items():
        found = [grid.of_baseline(column, name) for column in columns]
        if any(map(len, found)):
            row = [spelled(values, column) for values, column in zip(found, columns, strict=True)]
            rows.append([title, str(max(map(len, found))), *row])
    return rows


def spelled(values: pd.Series, column: Column) -> str:
    if not len(values):
        return ""
    factor = 100 if column.percent else 1
    mean, spread = mean_and_std([factor * value for value in values])
    return f"{mean:.1f}" + (f" ± {spread:.1f}" if spread is not None else "")


def spelled_difference(found: Difference | None, column: Column, after_correction: bool = False) -> str:
    if found is None:
        return ""
    factor = 100 if column.percent else 1
    words = f"{factor * found.mean:+.1f}" + (f" ± {factor * found.half:.1f}" if found.half is not None else "")
    return f"**{words}{f' {CORRECTED}' * after_correction}**" if found.significant else words


def difference_sentences(grid: Grid) -> list[str]:
    """The declared differences in words."""
    lines, rows = [], compared(grid)
    for name in (minus(*pair) for pair in grid.differences):
        for column in grid.columns:
            found = rows.get((name, column))
            if found is not None and found.half is not None:
                lines.append(f"{column.title}: {name} {spelled_difference(found, column).strip('*')}, {found.verdict}")
    return lines


def spelled_range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def conditions(grid: Grid) -> list[str]:
    """Corpus, hardware and time of the finished trials."""
    trials = list(grid.trials.values())
    if not trials:
        return []
    corpora = {f"{trial['corpus']['name']} ({trial['corpus']['fingerprint'][:8]})" for trial in trials}
    machines = {f"{spelled_hardware(trial['hardware'])}, {trial.get('precision', 'fp32')}" for trial in trials}
    steps = [trial["steps"] for trial in trials]
    processor = [round(sum(trial["processor_seconds"].values())) for trial in trials]
    lines = [
        f"corpus {', '.join(sorted(corpora))}; {spelled_range(steps)} steps; {'; '.join(sorted(machines))}; "
        f"torch {', '.join(sorted({trial['versions'].get('torch', '') for trial in trials}))}",
        f"processor time of a trial: {spelled_range(processor)} s",
    ]
    series = {tuple(sorted((trial.get("derived") or {}).items())) for trial in trials}
    made = {name: {dict(some).get(name) for some in series} - {None} for some in series for name, _ in some}
    lines += [
        f"not the same in all trials: {name} ({', '.join(sorted(map(str, kinds)))})"
        for name, kinds in sorted(made.items())
        if len(kinds) > 1
    ]
    warnings: dict[str, set[str]] = {}
    for trial in trials:
        for name, result in trial["results"].items():
            for warning in result.get("warnings") or []:
                warnings.setdefault(warning, set()).add(name)
    return lines + [f"{' and '.join(sorted(names))}: {warning}" for warning, names in sorted(warnings.items())]


def spelled_hardware(found: Mapping[str, Any]) -> str:
    chip = found.get("gpu") or " ".join(filter(None, (found["processor"], found.get("cpu_capability"))))
    return f"{chip}, {found['threads']} thread{'s' * (found['threads'] > 1)}"


def as_markdown(grid: Grid) -> str:
    """The tables with their conditions, and how to run it again."""
    parts = [
        f"{title(grid.name)}{markdown(grid.question)}",
        "",
        *(f"- {markdown(line)}" for line in conditions(grid)),
        "",
    ]
    for table in tables(grid):
        parts += [f"## {table.title}", "", table.note, "", pipe(table), ""]
    if grid.left_out:
        parts += [
            "## Left out",
            "",
            *(f"- {markdown(variant)}: {markdown(reason)}" for variant, reason in grid.left_out.items()),
            "",
        ]
    parts += ["## Run it again", "", *code_block([grid.again]), "", "One trial of each variant, the first seed:", ""]
    return "\n".join([*parts, *code_block(by_hand(grid)), ""])


def title(name: str) -> str:
    return f"# {markdown(name)}: "


def by_hand(grid: Grid) -> list[str]:
    """The commands of every variant; those that all have in common once, at the end."""
    every = {variant: grid.commands.get(variant, ()) for variant in grid.variants}
    shared = [line for line in next(iter(every.values()), ()) if all(line in lines for lines in every.values())]
    own = [[f"# {name}", *(line for line in lines if line not in shared)] for name, lines in every.items()]
    return [line for lines in own for line in lines] + (["# and after each of them", *shared] if shared else [])


def pipe(table: StudyTable) -> str:
    head, *rows = ([markdown(line[0]), *map(cell, line[1:])] for line in (table.head, *table.rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def cell(text: str) -> str:
    """A cell of Markdown. What is bold is so by our own signs."""
    bold = text.startswith("**") and text.endswith("**") and len(text) > 4
    return f"**{markdown(text[2:-2])}**" if bold else markdown(text)


def check_pages(name: str, stem: Path) -> tuple[Path, Path]:
    """Where the pages of the study of this name go; an error where something else is there."""
    page, beside = stem.with_suffix(".html"), stem.with_suffix(".md")
    if is_another(page, GENERATOR):
        raise RunError(f"{page} exists and is no page of a study; choose another --out")
    if beside.exists() and not beside.read_text(encoding="utf-8", errors="replace").startswith(title(name)):
        raise RunError(f"{beside} exists and is no page of the study {name}; choose another --out")
    return page, beside


def write_pages(grid: Grid, stem: Path) -> str:
    """STEM.html, and the same as STEM.md, which is returned. An existing file is replaced only if it is such a page."""
    page, beside = check_pages(grid.name, stem)
    text = as_markdown(grid)
    drawn = document(
        "study.html",
        GENERATOR,
        grid=grid,
        conditions=conditions(grid),
        tables=tables(grid),
        verdicts=difference_sentences(grid),
        charts=charts(grid),
        variants=[(name, words, grid.commands.get(name, ())) for name, words in grid.variants.items()],
    )
    write_atomically(page, drawn.encode())
    write_atomically(beside, text.encode())
    return text


def charts(grid: Grid) -> list[tuple[str, str, Markup]]:
    """Title, note and picture: every seed of every measure, then the declared curves."""
    found = []
    for position, column in enumerate(grid.columns):
        every = {variant: grid.values(variant, column).tolist() for variant in grid.variants}
        rows = [(variant, [span(values)]) for variant, values in every.items() if values]
        if not rows or not column.percent:
            continue
        untrained = {title: grid.of_baseline(column, name) for title, name in BASELINES.items()}
        levels = [Level(title, float(some.mean())) for title, some in untrained.items() if len(some)]
        words = "Faint: every seed. Bar: the standard deviation over seeds."
        words += " Dotted: baselines without training." * bool(levels)
        found.append((column.title, words, spans(f"study-{position}", rows, levels)))
    for term in grid.plotted:
        means = {variant: points for variant in grid.variants if len(points := mean_curve(grid, variant, term))}
        lines = [
            Line(variant, points.index.to_numpy(float), points.to_numpy(), index % SERIES)
            for index, (variant, points) in enumerate(means.items())
        ]
        if lines:
            share = bool((grid.curves["term"] == term + BASELINE).any())
            words = (
                "Relative to the mean-prediction baseline, the mean over seeds." if share else "The mean over seeds."
            )
            picture = curves(f"curve-{term}", lines, percent=share, height=1.6 + 0.22 * len(lines), named=True)
            found.append((f"{term} over the steps", words, picture))
    return found


def span(values: Sequence[float]) -> Span:
    mean, spread = mean_and_std(values)
    return Span(0, values, mean, mean - (spread or 0.0), mean + (spread or 0.0))


def mean_curve(grid: Grid, variant: str, term: str) -> pd.Series:
    """By step, the mean over the seeds that logged as many points as any; a loss relative to its baseline."""
    table = grid.curves[(grid.curves["variant"] == variant) & grid.curves["term"].isin([term, term + BASELINE])]
    wide = table.pivot(index=["seed", "step"], columns="term", values="value")
    if term not in wide:
        return pd.Series(dtype=float)
    values = wide[term] / wide[term + BASELINE] if term + BASELINE in wide else wide[term]
    counts = values.groupby("seed").transform("size")
    return values[counts == counts.max()].groupby("step").mean()
