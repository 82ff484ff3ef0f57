"""The tables of the page: at a glance, results with their intervals, confusion matrices, recipes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tubelet.report.folder import Record, Run, number

LARGEST = 16  # classes of a confusion matrix that is shown whole
PAIRS = 12  # most frequent confusions that are named of a larger one
LEVELS = ("chance", "chance_r", "majority", "flat", "still", "grid")
SHARES = ("accuracy", "balanced_accuracy", "top5_accuracy", "r", "map", "j", *LEVELS)
CHOSEN = {
    "finetune": ("accuracy", "held_out.accuracy"),
    "reconstruction": ("skill", "nearest_skill"),
    "linear": ("mean.accuracy", "slots.accuracy"),
    "knn": ("mean.accuracy", "slots.accuracy"),
    "retrieval": ("text_to_video.r@1", "video_to_text.r@1", "video_to_video.slots.r@1"),
}


@dataclass(frozen=True)
class Cell:
    text: str
    interval: str = ""
    note: str = ""
    empty: bool = False  # nothing belongs here, so no dash either


@dataclass(frozen=True)
class Row:
    name: str
    cells: list[Cell]
    level: int = 0  # 1: belongs to the row above


@dataclass(frozen=True)
class Table:
    """Rows by runs; `protocol` is what was decided, in the evaluation's own words."""

    title: str
    rows: list[Row]
    columns: list[int] | None = None  # the places of the runs that stand here; None: all of them
    beside: list[str] = field(default_factory=list)  # further columns after the runs: what needs no training
    protocol: list[tuple[str, str]] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)


def at_a_glance(runs: Sequence[Run]) -> Table:
    """The few lines that tell the runs apart, then their headline numbers."""
    facts = {
        "Recipe": [str(run.recipe.get("recipe", "")) for run in runs],
        "Begins with": ["" if run.pretrained else start(run) for run in runs],
        "Masks": ["" if run.imported else describe(run, "masker") for run in runs],
        "Objectives": ["" if run.imported else objectives(run) for run in runs],
        "Steps": [steps(run) for run in runs],
        "Clips a second": [speed(run) for run in runs],
    }
    rows = [Row(name, [Cell(text) for text in texts]) for name, texts in facts.items() if any(texts)]
    for evaluation, metrics in CHOSEN.items():
        for metric in metrics:
            cells = [beside(run.results.get(evaluation) or {}, metric) for run in runs]
            if any(c.text for c in cells):
                rows.append(Row(title(evaluation, metric), cells))
    return Table("At a glance", rows)


def title(evaluation: str, metric: str) -> str:
    if evaluation == "reconstruction":
        return f"Held-out {spelled(metric)}"
    named = {"knn": "kNN", "finetune": "Fine-tuned"}
    return f"{named.get(evaluation, evaluation.capitalize())}, {spelled(metric)}"


def start(run: Run) -> str:
    """What fine-tuning begins with, and how many labels it has."""
    begun = "fresh weights" if run.values.get("scratch") else f"the weights of {run.values.get('init')}"
    share = run.values.get("labels_share")
    return begun + (f", {share:.0%} of the labels" if number(share) else "")


def describe(run: Run, part: str) -> str:
    """A part of the recipe in a few words: its class and its plain values."""
    values = run.values
    own = [
        f"{name.removeprefix(part + '.')} {short(value)}"
        for name, value in values.items()
        if name.startswith(part + ".")
    ]
    name = str(values.get(part, "")).rsplit(".", 1)[-1].rsplit(":", 1)[-1]
    return ", ".join(text for text in (name, *own[:3]) if text)


def objectives(run: Run) -> str:
    """The objectives that are on."""
    values = run.values
    names = dict.fromkeys(name.split(".")[1] for name in values if name.startswith("objectives."))
    on = []
    for name in names:
        weight = values.get(f"objectives.{name}.weight", 1.0)
        if number(weight) and weight > 0:
            on.append(name if weight == 1 else f"{weight:g} × {name}")
        elif values.get(f"objectives.{name}.detach"):
            on.append(f"{name} (observed)")
    return " + ".join(on)


def steps(run: Run) -> str:
    planned = run.values.get("steps")
    if run.imported:
        return "not trained here"
    if number(planned) and planned != run.last_step:
        return f"{run.last_step:,} of {planned:,}"
    return f"{run.last_step:,}" if run.steps else ""


def speed(run: Run) -> str:
    _, values = run.series("clips_per_second")
    return f"{float(np.median(values)):.3g} (median)" if len(values) else ""


def results_tables(runs: Sequence[Run]) -> list[Table]:
    """A table for each entry of results.json and each corpus: nothing stands beside what was measured elsewhere."""
    tables = []
    several = len({where(run, entry) for run in runs for entry in run.results}) > 1
    for entry in sorted(dict.fromkeys(name for run in runs for name in run.results), key=place):
        corpora: dict[str, list[int]] = {}
        for index, run in enumerate(runs):
            if numbers([run.results.get(entry) or {}]):
                corpora.setdefault(where(run, entry), []).append(index)
        for columns in corpora.values():
            name = name_of(measured_on(runs[columns[0]], entry)) if several and " on " not in entry else ""
            table = results_table(entry, [runs[index] for index in columns])
            tables.append(replace(table, title=f"{entry}, {name}" if name else entry, columns=columns))
    return tables


def measured_on(run: Run, entry: str) -> Record:
    """The corpus of an entry; of one that does not say it, the run's own."""
    return (run.results.get(entry) or {}).get("corpus") or run.corpus


def where(run: Run, entry: str) -> str:
    return str(measured_on(run, entry).get("fingerprint"))


def name_of(corpus: Record) -> str:
    return str(corpus.get("name", ""))


def results_table(entry: str, runs: Sequence[Run]) -> Table:
    """Every metric by runs, then the baselines and its chance level.

    What is the same for all runs is a column; a baseline that differs between them is a row under each metric.
    """
    found = [run.results.get(entry) or {} for run in runs]
    metrics = [name for name in numbers(found) if not is_chance(name)]
    names = dict.fromkeys(name for result in found for name in (result.get("baselines") or {}))
    columns = [name for name in names if agree(found, name)]
    chance = any(
        number((result.get("metrics") or {}).get(level_of(result, name))) for result in found for name in metrics
    )
    rows = []
    for metric in metrics:
        cells = [cell(result, metric) for result in found]
        cells += [cell(first(found, name), metric) for name in columns]
        if chance:
            cells.append(next((c for result in found if (c := cell(result, level_of(result, metric))).text), Cell("")))
        rows.append(Row(spelled(metric), cells))
        rows += [row for row in below(metric, found, chance=False) if row.name not in map(known_as, columns)]
    blank = [Cell("", empty=True)] * (len(columns) + chance)
    protocol: Record = next((result["protocol"] for result in found if result.get("protocol")), {})
    return Table(
        title=entry,
        rows=[replace(row, cells=row.cells + blank[len(row.cells) - len(runs) :]) for row in rows + count_rows(found)],
        beside=[*map(known_as, columns), *(["chance"] if chance else [])],
        protocol=[(spelled(name), short(value)) for name, value in flat(protocol)],
        marks=[
            f"{run.name}: {mark}" for run, result in zip(runs, found, strict=True) for mark in result.get("marks") or []
        ],
    )


def place(entry: str) -> tuple[int, str]:
    """The headline first, then the probes, then what a user added."""
    known = list(CHOSEN)
    return next((known.index(name) for name in known if entry.startswith(name)), len(known)), entry


def numbers(found: Sequence[Record]) -> list[str]:
    """Metrics that are numbers, in the order they appear."""
    metrics = [(name, value) for result in found for name, value in (result.get("metrics") or {}).items()]
    return list(dict.fromkeys(name for name, value in metrics if number(value)))


def agree(found: Sequence[Record], baseline: str) -> bool:
    """Whether all runs that have this baseline have the same numbers."""
    values = [part.get("metrics") for result in found if (part := (result.get("baselines") or {}).get(baseline))]
    return all(value == values[0] for value in values)


def first(found: Sequence[Record], baseline: str) -> Record:
    parts = ((result.get("baselines") or {}).get(baseline) for result in found)
    return next((part for part in parts if part), {})


def below(metric: str, found: Sequence[Record], chance: bool = True) -> list[Row]:
    """The same metric of the baselines, and what needs no features."""
    names = dict.fromkeys(name for result in found for name in (result.get("baselines") or {}))
    rows = []
    for name in names:
        cells = [cell((result.get("baselines") or {}).get(name) or {}, metric) for result in found]
        rows.append(Row(known_as(name), cells, 1))
    if chance:
        rows.append(Row("chance", [cell(result, level_of(result, metric)) for result in found], 1))
    return [row for row in rows if any(c.text for c in row.cells)]


def known_as(baseline: str) -> str:
    return "random initialisation" if baseline == "random" else spelled(baseline)


def is_chance(metric: str) -> bool:
    return metric == "majority" or metric.rpartition(".")[2].startswith("chance")


def chance_of(metric: str) -> str:
    """The name of this metric's level without any features."""
    measure = metric.rpartition(".")[2]
    if measure in ("accuracy", "balanced_accuracy"):
        return "majority" if measure == "accuracy" else "chance"
    if measure == "top5_accuracy":
        return metric.replace("top5", "chance_top5")
    return f"{metric.partition('.')[0]}.chance_{measure}"


def level_of(result: Record, metric: str) -> str:
    """The same among the numbers of a result; of accuracy the commonest class, or a guess where that is better."""
    name, metrics = chance_of(metric), result.get("metrics") or {}
    known = [level for level in ("majority", "chance") if number(metrics.get(level))]
    return max(known, key=lambda level: float(metrics[level])) if name == "majority" and known else name


WORDS = {
    "skill": "1 − loss/trivial",
    "trivial": "trivial loss",
    "nearest": "loss of copying the nearest visible tubelet",
    "nearest_skill": "1 − loss/trivial of copying the nearest tubelet",
    "flat": "flat tubelets",
    "j": "mean intersection over union",
    "still": "the first mask left where it is",
    "grid": "the truth, averaged over the places",
}


def spelled(name: str) -> str:
    """`text_to_video.r@1` as words."""
    return WORDS.get(name, name.replace("_", " ").replace(".", ", "))


def count_rows(found: Sequence[Record]) -> list[Row]:
    """How many clips of which split stand behind the numbers."""
    counts = [result.get("counts") or {} for result in found]
    splits = dict.fromkeys(name for count in counts for name, part in count.items() if "used" in as_record(part))
    return [Row(f"clips of {name}", [Cell(counted(as_record(count.get(name)))) for count in counts]) for name in splits]


def counted(count: Record) -> str:
    """`240 in 60 groups, 1 failed, 5 short`"""
    if not count:
        return ""
    parts = [f"{count['used']:,}" + (f" in {count['groups']:,} groups" if "groups" in count else "")]
    parts += [f"{count[name]:,} {name}" for name in ("failed", "short", "unlabelled") if count.get(name)]
    return ", ".join(parts)


def beside(result: Record, metric: str) -> Cell:
    """A metric with its baselines in a line below it."""
    own = cell(result, metric)
    others = [f"{row.name} {row.cells[0].text}" for row in below(metric, [result])]
    return replace(own, note=" · ".join(others)) if own.text else own


def cell(result: Record, metric: str) -> Cell:
    """A metric of a result, with its 95 % interval where it has one."""
    value = (result.get("metrics") or {}).get(metric)
    if not number(value):
        return Cell("")
    interval = (result.get("intervals") or {}).get(metric)
    if isinstance(interval, list | tuple) and len(interval) == 2 and all(map(number, interval)):
        low, high = (shown(metric, float(bound)).removesuffix(" %") for bound in interval)
        return Cell(shown(metric, float(value)), f"{low} to {high}")
    return Cell(shown(metric, float(value)))


def shown(metric: str, value: float) -> str:
    """Shares in percent, the rest in three figures."""
    if metric.rpartition(".")[2].split("@")[0] in SHARES:
        return f"{100 * value:.1f} %"
    return f"{int(value):,}" if value.is_integer() else f"{value:.3g}"


@dataclass(frozen=True)
class Confusion:
    """Rows are the true classes, columns the predicted ones; each cell its count and its share of the row."""

    run: str
    title: str
    classes: list[str]
    rows: list[list[tuple[int, float]]]
    pairs: list[tuple[str, str, int]]  # the most frequent confusions of a matrix too large to show


def confusions(run: Run) -> list[Confusion]:
    found = []
    for evaluation, result in run.results.items():
        classes = [str(name) for name in result.get("classes") or []]
        pools = result.get("pools") or {}
        matrices = {f"{evaluation}, {pool}": part.get("confusion") for pool, part in pools.items()}
        matrices[evaluation] = result.get("confusion")
        for name, matrix in matrices.items():
            if matrix and len(matrix) == len(classes):
                found.append(confusion(run.name, name, classes, np.asarray(matrix)))
    return found


def confusion(run: str, name: str, classes: list[str], matrix: np.ndarray) -> Confusion:
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    whole = len(classes) <= LARGEST
    off = [
        (int(matrix[i, j]), i, j) for i in range(len(classes)) for j in range(len(classes)) if i != j and matrix[i, j]
    ]
    off.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    return Confusion(
        run=run,
        title=name,
        classes=classes,
        rows=[[(int(n), float(s)) for n, s in zip(*pair, strict=True)] for pair in zip(matrix, shares, strict=True)]
        if whole
        else [],
        pairs=[] if whole else [(classes[i], classes[j], count) for count, i, j in off[:PAIRS]],
    )


@dataclass(frozen=True)
class Recipes:
    """`changed` are the fields that differ from their defaults or between the runs, `whole` all of them."""

    facts: list[Row]
    changed: list[Row]
    whole: list[Row]


def recipe_tables(runs: Sequence[Run]) -> Recipes:
    names = list(dict.fromkeys(name for run in runs for name in run.values))
    whole = {name: [short(run.values[name]) if name in run.values else "—" for run in runs] for name in names}
    told = {str(name) for run in runs for name in run.recipe.get("changed") or ()}
    changed = [name for name in names if name in told or len(set(whole[name])) > 1]
    return Recipes(
        facts=facts(runs),
        changed=[Row(name, [Cell(text) for text in whole[name]]) for name in changed],
        whole=[Row(name, [Cell(text) for text in texts]) for name, texts in whole.items()],
    )


def facts(runs: Sequence[Run]) -> list[Row]:
    """Corpus, seed, hardware, versions."""
    rows = {
        "Folder": [str(run.folder) for run in runs],
        "Corpus": [str(run.corpus.get("name", "")) for run in runs],
        "Corpus fingerprint": [str(run.corpus.get("fingerprint", "")) for run in runs],
        "Corpus folder": [str(run.corpus.get("path", "")) for run in runs],
        "Seed": [short(run.values.get("seed", "")) for run in runs],
    }
    for part in ("precision", "processes", "derived", "hardware", "versions"):
        rows[part.capitalize()] = [listed(run.recipe.get(part)) for run in runs]
    return [Row(name, [Cell(text) for text in texts]) for name, texts in rows.items() if any(texts)]


def listed(value: Any) -> str:
    """A record as one line."""
    return " · ".join(f"{name} {short(part)}".strip() for name, part in as_record(value).items())


def as_record(value: Any) -> Record:
    return value if isinstance(value, dict) else {} if value is None else {"": value}


def flat(record: Record, prefix: str = "") -> list[tuple[str, Any]]:
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
