"""The tables of the page: at a glance, results with their intervals, confusion matrices, recipes."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tubelet.escape import markdown
from tubelet.reports.frame import frame
from tubelet.results import ACCURACY, BALANCED, Metric, Record, Result, format_value
from tubelet.run_record import RunRecord, finite

if TYPE_CHECKING:
    import pandas as pd

CHOSEN = {
    "finetune": ("accuracy", "held_out.accuracy"),
    "reconstruction": ("r2",),
    "linear": ("mean.accuracy", "temporal_concat.accuracy"),
    "knn": ("mean.accuracy", "temporal_concat.accuracy"),
    "retrieval": ("text_to_video.r@1", "video_to_text.r@1", "video_to_video.temporal_concat.r@1"),
}


@dataclass(frozen=True)
class TextTable:
    """What is text already: a title, the heads of the columns, and rows that begin with a name."""

    title: str
    header: list[str]
    rows: list[list[str]]
    caption: str | None = None


@dataclass(frozen=True)
class Cell:
    text: str
    interval: str = ""
    note: str = ""
    empty: bool = False  # nothing belongs here, so no dash either


@dataclass(frozen=True)
class TableRow:
    name: str
    cells: list[Cell]
    level: int = 0  # 1: belongs to the row above


@dataclass(frozen=True)
class Table:
    """Rows by runs; `protocol` is what was decided, in the evaluation's own words."""

    title: str
    rows: list[TableRow]
    columns: list[int] | None = None  # the places of the runs that stand here; None: all of them
    beside: list[str] = field(default_factory=list)  # further columns after the runs: what needs no training
    protocol: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def at_a_glance(runs: Sequence[RunRecord]) -> Table:
    """The few lines that tell the runs apart, then their headline numbers."""
    facts = {
        "Recipe": [str(run.recipe.get("recipe", "")) for run in runs],
        "Begins with": ["" if run.pretrained else starting_point(run) for run in runs],
        "Masks": ["" if run.imported else describe(run, "masker") for run in runs],
        "Objectives": ["" if run.imported else objectives(run) for run in runs],
        "Steps": [steps(run) for run in runs],
        "Clips a second": [speed(run) for run in runs],
    }
    rows = [TableRow(name, [Cell(text) for text in texts]) for name, texts in facts.items() if any(texts)]
    for evaluation, metrics in CHOSEN.items():
        for metric in (by_its_measure(metric, evaluation, runs) for metric in metrics):
            cells = [cell_with_baselines(run.results.get(evaluation), metric) for run in runs]
            if any(c.text for c in cells):
                rows.append(TableRow(title(evaluation, metric), cells))
    return Table("At a glance", rows)


def by_its_measure(metric: str, evaluation: str, runs: Sequence[RunRecord]) -> str:
    """Balanced accuracy in place of accuracy where that selected: where classes are uneven."""
    measures = {run.results[evaluation].measure for run in runs if evaluation in run.results}
    pool, dot, last = metric.rpartition(".")
    return f"{pool}{dot}{BALANCED}" if last == ACCURACY and BALANCED in measures else metric


def title(evaluation: str, metric: str) -> str:
    if evaluation == "reconstruction":
        return f"Held-out {metric_title(metric)}"
    named = {"knn": "kNN", "finetune": "Fine-tuned", "held_out": "Held-out"}
    return f"{named.get(evaluation, evaluation.replace('_', ' ').capitalize())}, {metric_title(metric)}"


def starting_point(run: RunRecord) -> str:
    """What fine-tuning begins with, and how many labels it has."""
    begun = "fresh weights" if run.values.get("scratch") else f"the weights of {run.values.get('init')}"
    share = run.values.get("labels_share")
    return begun + (f", {share:.0%} of the labels" if finite(share) else "")


def describe(run: RunRecord, part: str) -> str:
    """A part of the recipe in a few words: its class and its plain values."""
    values = run.values
    own = [
        f"{name.removeprefix(part + '.')} {short(value)}"
        for name, value in values.items()
        if name.startswith(part + ".")
    ]
    name = str(values.get(part, "")).rsplit(".", 1)[-1].rsplit(":", 1)[-1]
    return ", ".join(text for text in (name, *own[:3]) if text)


def objectives(run: RunRecord) -> str:
    """The objectives that are on."""
    values = run.values
    names = dict.fromkeys(name.split(".")[1] for name in values if name.startswith("objectives."))
    on = []
    for name in names:
        weight = values.get(f"objectives.{name}.weight", 1.0)
        if finite(weight) and weight > 0:
            on.append(name if weight == 1 else f"{weight:g} × {name}")
        elif values.get(f"objectives.{name}.detach"):
            on.append(f"{name} (observed)")
    return " + ".join(on)


def steps(run: RunRecord) -> str:
    planned = run.values.get("steps")
    if run.imported:
        return "not trained here"
    if finite(planned) and planned != run.last_step:
        return f"{run.last_step:,} of {planned:,}"
    return f"{run.last_step:,}" if run.steps else ""


def speed(run: RunRecord) -> str:
    _, values = run.series("clips_per_second")
    return f"{float(np.median(values)):.3g} (median)" if len(values) else ""


def results_tables(runs: Sequence[RunRecord]) -> list[Table]:
    """A table for each entry of results.json and each corpus: nothing stands next to what was measured elsewhere."""
    tables = []
    several = len({where(run, entry) for run in runs for entry in run.results}) > 1
    for entry in sorted(dict.fromkeys(name for run in runs for name in run.results), key=rank_of):
        corpora: dict[str, list[int]] = {}
        for index, run in enumerate(runs):
            if entry in run.results and run.results[entry].metrics:
                corpora.setdefault(where(run, entry), []).append(index)
        for columns in corpora.values():
            name = measured_on(runs[columns[0]], entry).get("name", "") if several and " on " not in entry else ""
            table = results_table(entry, [runs[index] for index in columns])
            tables.append(replace(table, title=f"{entry}, {name}" if name else entry, columns=columns))
    return tables


def measured_on(run: RunRecord, entry: str) -> Mapping[str, str]:
    """The corpus of an entry; of one that does not say it, the run's own."""
    return (run.results[entry].corpus if entry in run.results else {}) or run.corpus


def where(run: RunRecord, entry: str) -> str:
    return str(measured_on(run, entry).get("fingerprint"))


def results_table(entry: str, runs: Sequence[RunRecord]) -> Table:
    """Every metric by runs, then the baselines and its chance level, from the tidy frame.

    What is the same for all runs is a column; a baseline that differs between them is a row under each metric.
    """
    data = frame(runs)
    data = data[(data.entry == entry) & data.value.notna()]
    own, others = data[data.baseline == ""], data[data.baseline != ""]
    agree = (
        others.groupby(["baseline", "metric"], sort=False).value.nunique().groupby("baseline", sort=False).max() <= 1
    )
    shared, apart = (list(agree.index[agree == same]) for same in (True, False))
    results = [run.results[entry] for run in runs]
    rows = []
    for metric in own.metric.unique():
        mine, theirs = own[own.metric == metric], others[others.metric == metric]
        cells = [cell(mine[mine.run == run.name]) for run in runs]
        cells += [cell(theirs[theirs.baseline == name]) for name in shared]
        if own.chance.notna().any():
            cells.append(level(mine))
        rows.append(TableRow(metric_title(metric), cells))
        for name in apart:
            row = theirs[theirs.baseline == name]
            rows.append(TableRow(known_as(name), [cell(row[row.run == run.name]) for run in runs], 1))
    beside = [*map(known_as, shared), *(["chance"] if own.chance.notna().any() else [])]
    blank = [Cell("", empty=True)] * len(beside)
    rows += reference_rows(results) + count_rows(results)
    protocol = next((result.protocol for result in results if result.protocol), {})
    return Table(
        title=entry,
        rows=[replace(row, cells=row.cells + blank[len(row.cells) - len(runs) :]) for row in rows],
        beside=beside,
        protocol=[(field_title(name), short(value)) for name, value in flat(protocol)],
        warnings=[f"{run.name}: {text}" for run, result in zip(runs, results, strict=True) for text in result.warnings],
    )


def cell(rows: "pd.DataFrame") -> Cell:
    """The first of these rows, with its 95 % interval where it has one."""
    return cell_of(metric_of(next(rows.itertuples()))) if len(rows) else Cell("")


def metric_of(row: Any) -> Metric:
    """The metric that a row of the frame says."""
    return Metric(row.value, None if math.isnan(row.low) else (row.low, row.high), unit=row.unit)


def cell_of(metric: Metric) -> Cell:
    return Cell(metric.text, " to ".join(metric.bounds or ()))


def level(rows: "pd.DataFrame") -> Cell:
    """What chance scores."""
    known = rows[rows.chance.notna()]
    return Cell(format_value(known.chance.iloc[0], known.unit.iloc[0])) if len(known) else Cell("")


def rank_of(entry: str) -> tuple[int, str]:
    """The headline first, then the probes, then what a user added."""
    known = list(CHOSEN)
    return next((known.index(name) for name in known if entry.startswith(name)), len(known)), entry


def known_as(baseline: str) -> str:
    return "random initialisation" if baseline == "random" else metric_title(baseline)


WORDS = {
    "r2": "R²",
    "mean_prediction_loss": "loss of predicting the mean",
    "copy_loss": "loss of copying the nearest visible patch",
    "copy_r2": "R² of copying the nearest visible patch",
    "flat": "flat tubelets",
    "j": "mean intersection over union",
    "still": "the first mask left where it is",
    "grid": "ground truth, averaged over the patches",
}


def metric_title(name: str) -> str:
    """`text_to_video.r@1` as words."""
    return WORDS.get(name) or field_title(name)


def field_title(name: str) -> str:
    """`held_out_accuracy.mean.0.01` as words: held out accuracy, mean, 0.01."""
    return re.sub(r"(?<!\d)\.|\.(?!\d)", ", ", name.replace("_", " "))


def reference_rows(results: Sequence[Result]) -> list[TableRow]:
    """Properties of the clips and masks, whatever the encoder."""
    names = dict.fromkeys(name for result in results for name in result.references)
    return [
        TableRow(
            metric_title(name), [cell_of(r.references[name]) if name in r.references else Cell("") for r in results], 1
        )
        for name in names
    ]


def count_rows(results: Sequence[Result]) -> list[TableRow]:
    """How many clips of which split the numbers are of."""
    counts = [{name: part for name, part in result.counts.items() if used(part)} for result in results]
    splits = dict.fromkeys(name for count in counts for name in count)
    return [TableRow(f"clips of {name}", [Cell(counted(count.get(name, {}))) for count in counts]) for name in splits]


def used(part: Any) -> bool:
    return isinstance(part, Mapping) and "used" in part


def counted(count: Mapping[str, Any]) -> str:
    """`240 in 60 groups, 1 failed, 5 short`"""
    if not count:
        return ""
    parts = [f"{count['used']:,}" + (f" in {count['groups']:,} groups" if "groups" in count else "")]
    parts += [f"{count[name]:,} {name}" for name in ("failed", "short", "unlabelled") if count.get(name)]
    return ", ".join(parts)


def cell_with_baselines(result: Result | None, name: str) -> Cell:
    """A metric with its baselines, chance and the reference that it is to beat in a line below it."""
    if result is None or name not in result.metrics:
        return Cell("")
    metric = result.metrics[name]
    others = {known_as(other): one.metrics[name].text for other, one in result.baselines.items() if name in one.metrics}
    others |= {"chance": format_value(metric.chance, metric.unit)} if metric.chance is not None else {}
    if name == "r2":
        others |= {metric_title(one): result.references[one].text for one in ("copy_r2",) if one in result.references}
    return replace(cell_of(metric), note=" · ".join(f"{other} {text}" for other, text in others.items()))


def pipes(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown, every text of it escaped."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(map(markdown, cells))} |"

    return [line(header), "|" + "---|" * len(header), *map(line, rows)]


@dataclass(frozen=True)
class Recipes:
    """`changed` are the fields that differ from their defaults or between the runs, `whole` all of them."""

    facts: list[TableRow]
    changed: list[TableRow]
    whole: list[TableRow]


def recipe_tables(runs: Sequence[RunRecord]) -> Recipes:
    names = list(dict.fromkeys(name for run in runs for name in run.values))
    whole = {name: [short(run.values[name]) if name in run.values else "—" for run in runs] for name in names}
    recorded = {str(name) for run in runs for name in run.recipe.get("changed") or ()}
    changed = [name for name in names if name in recorded or len(set(whole[name])) > 1]
    return Recipes(
        facts=facts(runs),
        changed=[TableRow(name, [Cell(text) for text in whole[name]]) for name in changed],
        whole=[TableRow(name, [Cell(text) for text in texts]) for name, texts in whole.items()],
    )


def facts(runs: Sequence[RunRecord]) -> list[TableRow]:
    """Corpus, seed, hardware, versions."""
    rows = {
        "Folder": [str(run.folder) for run in runs],
        "Corpus": [str(run.corpus.get("name", "")) for run in runs],
        "Corpus fingerprint": [str(run.corpus.get("fingerprint", "")) for run in runs],
        "Corpus folder": [str(run.corpus.get("path", "")) for run in runs],
        "Seed": [short(run.values.get("seed", "")) for run in runs],
    }
    for part in ("precision", "processes", "derived", "hardware", "versions"):
        rows[part.capitalize()] = [as_line(run.recipe.get(part)) for run in runs]
    return [TableRow(name, [Cell(text) for text in texts]) for name, texts in rows.items() if any(texts)]


def as_line(value: Any) -> str:
    """A record as one line."""
    return " · ".join(f"{name} {short(part)}".strip() for name, part in as_record(value).items())


def as_record(value: Any) -> Record:
    return value if isinstance(value, dict) else {} if value is None else {"": value}


def flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested records as dotted pairs."""
    pairs: list[tuple[str, Any]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            pairs += flat(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs


def short(value: Any) -> str:
    """A value of a recipe or a protocol as one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(short, value))
    return json.dumps(value, ensure_ascii=False)
