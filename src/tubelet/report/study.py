"""What a study shows, as Markdown and as a page: a row a way, a column a measure, and the differences by seed.

Start reading at `tables`; both forms are made of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from tubelet.errors import RunError
from tubelet.escape import code_block, markdown
from tubelet.files import write_atomically
from tubelet.report.document import document, is_another
from tubelet.report.figures import SERIES, Level, Line, Span, curves, spans
from tubelet.report.statistics import Difference, discoveries, mean_and_spread, paired
from tubelet.results import finite as number

GENERATOR = "tubelet study"
LOG = "log"
UNTRAINED = "untrained"
BASELINES = {UNTRAINED: "random", "mean image": "mean_image", "raw pixels": "raw_pixels"}
STANDS = "†"
SAME = 0.005  # how far one baseline may lie from itself on another machine


@dataclass(frozen=True)
class Column:
    title: str
    entry: str  # of a cell's results
    metric: str
    percent: bool = True


@dataclass(frozen=True)
class Grid:
    """The cells of a study that are finished, and what was declared."""

    name: str
    question: str
    ways: Mapping[str, str]  # the words of each
    columns: tuple[Column, ...]
    seeds: tuple[int, ...]
    cells: Mapping[tuple[str, int], Mapping[str, Any]]  # by way and seed
    commands: Mapping[str, Sequence[str]]  # of the first seed of each way
    differences: tuple[tuple[str, str], ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    curves: tuple[str, ...] = ()
    again: str = "tubelet study STUDY --on CORPUS --out OUT"

    def values(self, way: str, column: Column, baseline: str | None = None) -> dict[int, float]:
        """The metric by seed, of the way or of a baseline that was measured beside it."""
        found = {}
        for (own, seed), cell in self.cells.items():
            result: Mapping[str, Any] = cell["results"].get(column.entry) or {}
            if column.entry == LOG:
                result = {"metrics": endings(cell)}
            metrics = result.get("metrics") if baseline is None else (result.get("baselines") or {}).get(baseline)
            if own == way and number(value := (metrics or {}).get(column.metric)):
                found[seed] = value
        return dict(sorted(found.items()))

    def of_baseline(self, column: Column, baseline: str) -> dict[int, float]:
        """By seed, where all ways have the same: ways that differ in their clips or their encoder do not."""
        found: dict[int, list[float]] = {}
        for way in self.ways:
            for seed, value in self.values(way, column, baseline).items():
                found.setdefault(seed, []).append(value)
        same = all(max(values) - min(values) < SAME for values in found.values())
        return {seed: values[0] for seed, values in sorted(found.items())} if same else {}

    @property
    def expected(self) -> int:
        return len(self.ways) * len(self.seeds)


def endings(cell: Mapping[str, Any]) -> dict[str, float]:
    """Of the losses of a run, the mean over the last tenth of the steps, in units of the trivial level there."""
    curves = cell.get("curves") or {}
    return {
        term: last_tenth(points) / last_tenth(trivial)
        for term, points in curves.items()
        if points and (trivial := trivial_curve(cell, term))
    }


def last_tenth(points: Sequence[Sequence[float]]) -> float:
    end = points[-1][0]
    return float(np.mean([value for step, value in points if step > 0.9 * end]))


@dataclass(frozen=True)
class Table:
    title: str
    note: str
    head: list[str]
    rows: list[list[str]]


def tables(grid: Grid) -> list[Table]:
    """The means, the margins over the untrained encoder, and the declared differences."""
    shown = [column for column in grid.columns if any(grid.values(way, column) for way in grid.ways)]
    probed = [column for column in shown if any(grid.values(way, column, "random") for way in grid.ways)]
    rows = compared(grid)
    standing = stands(rows)
    found = [Table("What was measured", note(grid), ["", "seeds", *(c.title for c in shown)], means(grid, shown))]
    for title, columns, names in (
        (f"Over the {UNTRAINED} encoder, by seed", probed, list(grid.ways)),
        ("Differences, by seed", shown, [minus(*pair) for pair in grid.differences]),
    ):
        cells = [
            [name, *(told(rows.get((name, c)), c, (name, c) in standing) for c in columns)]
            for name in names
            if any((name, c) in rows for c in columns)
        ]
        if cells:
            found.append(Table(title, DIFFERENCE, ["", *(c.title for c in columns)], cells))
    return found


Rows = dict[tuple[str, Column], Difference]  # by what is compared and the measure


def compared(grid: Grid) -> Rows:
    """Each way with its untrained encoder, under the way's own name, and each declared pair, by seed."""
    rows: Rows = {}
    for column in grid.columns:
        every = {way: (grid.values(way, column), grid.values(way, column, "random")) for way in grid.ways}
        every |= {
            minus(*pair): (grid.values(pair[0], column), grid.values(pair[1], column)) for pair in grid.differences
        }
        rows |= {(name, column): found for name, pair in every.items() if (found := paired(*pair))}
    return rows


def minus(one: str, other: str) -> str:
    return f"{one} − {other}"


def stands(rows: Rows) -> set[tuple[str, Column]]:
    """Those that stand among all of their measure on the page, when so many are asked."""
    found = set()
    for column in {column for _, column in rows}:
        tested = {name: row.p for (name, own), row in rows.items() if own == column and row.p is not None}
        kept = discoveries(list(tested.values()))
        found |= {(name, column) for name, stays in zip(tested, kept, strict=True) if stays}
    return found


DIFFERENCE = (
    "The mean of the paired differences and half of their 95 % t-interval. Bold: shown, the interval excludes 0; "
    "all else is not shown at these seeds. With one seed there is no interval, and nothing is shown. "
    f"{STANDS}: it also stands among all differences of its column, in both tables, at a false discovery rate of 5 %."
)


def note(grid: Grid) -> str:
    percent = "In percent, the mean over seeds ± their standard deviation."
    return f"{percent} {len(grid.cells)} of {grid.expected} cells are finished."


def means(grid: Grid, columns: Sequence[Column]) -> list[list[str]]:
    rows = []
    for way in grid.ways:
        seeds = sum(own == way for own, _ in grid.cells)
        cells = [spelled(grid.values(way, column), column) for column in columns] if seeds else ["not run"]
        rows.append([way, str(seeds), *cells, *[""] * (len(columns) - len(cells))])
    for title, name in BASELINES.items():
        found = [grid.of_baseline(column, name) for column in columns]
        if any(found):
            count = max(map(len, found))
            cells = [spelled(values, column) for values, column in zip(found, columns, strict=True)]
            rows.append([title, str(count), *cells])
    return rows


def spelled(values: Mapping[int, float], column: Column) -> str:
    if not values:
        return ""
    factor = 100 if column.percent else 1
    mean, spread = mean_and_spread([factor * value for value in values.values()])
    return f"{mean:.1f}" + (f" ± {spread:.1f}" if spread is not None else "")


def told(found: Difference | None, column: Column, standing: bool = False) -> str:
    if found is None:
        return ""
    factor = 100 if column.percent else 1
    words = f"{factor * found.mean:+.1f}" + (f" ± {factor * found.half:.1f}" if found.half is not None else "")
    return f"**{words}{f' {STANDS}' * standing}**" if found.shown else words


def verdicts(grid: Grid) -> list[str]:
    """The declared differences in words."""
    lines, rows = [], compared(grid)
    for name in (minus(*pair) for pair in grid.differences):
        for column in grid.columns:
            found = rows.get((name, column))
            if found is not None and found.half is not None:
                lines.append(f"{column.title}: {name} {told(found, column).strip('*')}, {found.verdict}")
    return lines


def conditions(grid: Grid) -> list[str]:
    """Corpus, machine and time of the finished cells."""
    cells = list(grid.cells.values())
    if not cells:
        return []
    corpora = {f"{cell['corpus']['name']} ({cell['corpus']['fingerprint'][:8]})" for cell in cells}
    machines = {
        f"{cell['hardware'].get('gpu') or cell['hardware']['processor']}, {threads} thread{'s' * (threads > 1)}"
        for cell in cells
        for threads in [cell["hardware"]["threads"]]
    }
    steps = sorted({cell["steps"] for cell in cells})
    processor = [sum(cell["processor_seconds"].values()) for cell in cells]
    lines = [
        f"corpus {', '.join(sorted(corpora))}; {' or '.join(map(str, steps))} steps; {'; '.join(sorted(machines))}; "
        f"torch {', '.join(sorted({cell['versions'].get('torch', '') for cell in cells}))}",
        f"a cell took {min(processor):.0f} to {max(processor):.0f} s of processor time",
    ]
    series = {tuple(sorted((cell.get("derived") or {}).items())) for cell in cells}
    made = {name: {dict(some).get(name) for some in series} - {None} for some in series for name, _ in some}
    lines += [
        f"not the same in all cells: {name} ({', '.join(sorted(map(str, kinds)))})"
        for name, kinds in sorted(made.items())
        if len(kinds) > 1
    ]
    marks: dict[str, set[str]] = {}
    for cell in cells:
        for name, result in cell["results"].items():
            for mark in result.get("marks") or []:
                marks.setdefault(mark, set()).add(name)
    return lines + [f"{' and '.join(sorted(names))}: {mark}" for mark, names in sorted(marks.items())]


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
            *(f"- {markdown(way)}: {markdown(reason)}" for way, reason in grid.left_out.items()),
            "",
        ]
    parts += ["## Again", "", *code_block([grid.again]), "", "One cell, by hand (seed of the first):", ""]
    return "\n".join([*parts, *code_block(by_hand(grid)), ""])


def title(name: str) -> str:
    return f"# {markdown(name)}: "


def by_hand(grid: Grid) -> list[str]:
    """The commands of every way; those that all ways have in common once, at the end."""
    every = {way: grid.commands.get(way, ()) for way in grid.ways}
    shared = [line for line in next(iter(every.values()), ()) if all(line in lines for lines in every.values())]
    own = [[f"# {way}", *(line for line in lines if line not in shared)] for way, lines in every.items()]
    return [line for lines in own for line in lines] + (["# and after each of them", *shared] if shared else [])


def pipe(table: Table) -> str:
    head, *rows = ([markdown(line[0]), *map(cell, line[1:])] for line in (table.head, *table.rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def cell(text: str) -> str:
    """A cell of Markdown. What is bold is so by our own signs."""
    bold = text.startswith("**") and text.endswith("**") and len(text) > 4
    return f"**{markdown(text[2:-2])}**" if bold else markdown(text)


def check_pages(name: str, stem: Path) -> tuple[Path, Path]:
    """Where the pages of the study of this name go; an error where something else stands there."""
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
        verdicts=verdicts(grid),
        charts=charts(grid),
        ways=[(way, words, grid.commands.get(way, ())) for way, words in grid.ways.items()],
    )
    write_atomically(page, drawn.encode())
    write_atomically(beside, text.encode())
    return text


def charts(grid: Grid) -> list[tuple[str, str, Markup]]:
    """Title, note and picture: every seed of every measure, then the declared curves."""
    found = []
    for place, column in enumerate(grid.columns):
        rows = [(way, [span(list(values.values()))]) for way in grid.ways if (values := grid.values(way, column))]
        if not rows or not column.percent:
            continue
        beside = {title: list(grid.of_baseline(column, name).values()) for title, name in BASELINES.items()}
        levels = [Level(title, float(np.mean(some))) for title, some in beside.items() if some]
        words = "Faint: every seed. Bar: the standard deviation over seeds."
        words += " Dotted: what needs no training." * bool(levels)
        found.append((column.title, words, spans(f"study-{place}", rows, levels)))
    for term in grid.curves:
        drawn = {way: points for way in grid.ways if len(points := mean_curve(grid, way, term))}
        lines = [
            Line(way, points[:, 0], points[:, 1], index % SERIES) for index, (way, points) in enumerate(drawn.items())
        ]
        if lines:
            share = any(trivial_curve(cell, term) for cell in grid.cells.values())
            words = "Of the trivial level there, the mean over seeds." if share else "The mean over seeds."
            picture = curves(f"curve-{term}", lines, percent=share, height=1.6 + 0.22 * len(lines), named=True)
            found.append((f"{term} over the steps", words, picture))
    return found


def span(values: Sequence[float]) -> Span:
    mean, spread = mean_and_spread(values)
    return Span(0, values, mean, mean - (spread or 0.0), mean + (spread or 0.0))


def mean_curve(grid: Grid, way: str, term: str) -> np.ndarray:
    """(step, value) of a way, the mean over the seeds that logged the same steps; a loss over its trivial level."""
    found = []
    for seed in grid.seeds:
        cell = grid.cells.get((way, seed)) or {}
        points = np.asarray((cell.get("curves") or {}).get(term) or np.empty((0, 2)), dtype=np.float64)
        if trivial := trivial_curve(cell, term):
            points[:, 1] /= np.asarray(trivial, dtype=np.float64)[:, 1]
        found.append(points)
    longest = max(found, key=len)
    return np.mean([points for points in found if points.shape == longest.shape], axis=0)


def trivial_curve(cell: Mapping[str, Any], term: str) -> Sequence[Sequence[float]]:
    return (cell.get("curves") or {}).get(f"{term}.trivial") or []
