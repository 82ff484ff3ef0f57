"""The page: what is said about the runs, in which order. Start reading at `report`."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tubelet.errors import RunError
from tubelet.files import write_atomically
from tubelet.reports import sheets
from tubelet.reports.compare import Comparison, Value, compare, label, tables_of
from tubelet.reports.confusion import confusions
from tubelet.reports.document import document, is_another
from tubelet.reports.figures import SERIES, Level, Line, Span, bars, curves, spans
from tubelet.reports.notices import notices, trust_option
from tubelet.reports.pictures import Samples, load_looks, load_samples, load_thumbnails
from tubelet.reports.tables import Table, at_a_glance, known_as, recipe_tables, results_tables, title
from tubelet.reports.training import Chart, training
from tubelet.results import UNREADABLE
from tubelet.run_record import RunRecord, finite, read_runs

GENERATOR = "tubelet report"
AnyPath = str | os.PathLike[str]
SHOWN = 8  # sample clips on the page
DRAWN = 20  # metrics of a comparison that are drawn; the table has all
PROBED = ("accuracy", "r2", "r@1")  # metrics that are drawn over training time


def report(runs: AnyPath | Sequence[AnyPath], out: str | Path = "report.html") -> Path:
    """Writes one self-contained page of runs: pictures, curves, results, recipe, and how to run them again; several
    stand side by side. Returns its path. An existing file is replaced only if it is a report.
    """
    out, folders = Path(out), [runs] if isinstance(runs, str | os.PathLike) else runs
    if out.is_dir():
        raise RunError(f"{out} is a folder; name the file to write, such as --out {out / 'report.html'}")
    if is_another(out, GENERATOR):
        raise RunError(f"{out} exists and is not a report; choose another --out")
    records = read_runs([Path(folder) for folder in folders])
    try:
        page = compose(records)
    except UNREADABLE as error:
        raise RunError(
            f"{' or '.join(str(run.folder) for run in records)} holds what no command of tubelet writes "
            f"({type(error).__name__}: {error}); restore its files, or measure again"
        ) from error
    write_atomically(out, page.encode())
    return out


def compose(runs: Sequence[RunRecord]) -> str:
    """The whole page as text: the same runs give the same bytes."""
    return document(
        "page.html",
        GENERATOR,
        heading=" · ".join(run.name for run in runs),
        runs=[Heading(run.name, index % SERIES + 1) for index, run in enumerate(runs)],
        several=len(runs) > 1,
        pretrained=any(run.pretrained for run in runs),
        corpora=sorted({str(run.corpus.get("name", "unknown corpus")) for run in runs}),
        glances=glances(runs),
        notices=[notice for run in runs for notice in notices(run)],
        sheets=contact_sheets(runs),
        looks=look_sheets(runs),
        training=training(runs),
        probes=probes(runs),
        results=results_tables(runs),
        timelines=[chart for run in runs for chart in timelines(run)],
        comparisons=[found for some in alike(runs) if (found := comparison(some)) is not None],
        confusions=[confusion for run in runs for confusion in confusions(run)],
        retrievals=[found for run in runs for found in retrievals(run)],
        recipes=recipe_tables(runs),
        reruns=[Rerun(run.name, commands(run)) for run in runs],
    )


def glances(runs: Sequence[RunRecord]) -> list[Table]:
    """A table of the runs that can be compared, each under its heading where there are several."""
    parts = alike(runs)
    return [
        replace(
            at_a_glance(some), title=heading(some) if len(parts) > 1 else "", columns=[runs.index(run) for run in some]
        )
        for some in parts
    ]


def alike(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """What can be compared: pretraining with pretraining, fine-tuning with fine-tuning, on one corpus."""
    found: dict[tuple[str, bool], list[RunRecord]] = {}
    for run in runs:
        found.setdefault((str(run.corpus.get("fingerprint")), run.pretrained), []).append(run)
    return list(found.values())


def heading(runs: Sequence[RunRecord]) -> str:
    """What runs that are alike have in common."""
    return f"{'Pretrained' if runs[0].pretrained else 'Fine-tuned'}, {runs[0].corpus.get('name', 'unknown corpus')}"


@dataclass(frozen=True)
class Heading:
    """A run's name and the number of its colour."""

    name: str
    colour: int


@dataclass(frozen=True)
class Rerun:
    run: str
    commands: list[str]


@dataclass(frozen=True)
class Shown:
    """One run's rows under a clip."""

    run: str
    note: str
    strips: list[sheets.Strip]


@dataclass(frozen=True)
class Sheet:
    """One clip: its frames, then the reconstruction of every run."""

    id: str
    corpus: str
    caption: str
    label: str
    frames: sheets.Strip
    shown: list[Shown]


@dataclass(frozen=True)
class LookSheet:
    """One clip: what every run reads beside it, and makes of that."""

    id: str
    corpus: str
    shown: list[Shown]


def contact_sheets(runs: Sequence[RunRecord]) -> list[Sheet]:
    """The clips that the runs were shown, in the order of the first run that has them."""
    found: dict[tuple[str, str], list[tuple[RunRecord, Samples, int]]] = {}
    for run in runs:
        if (samples := load_samples(run.folder)) is not None:
            for index, name in enumerate(map(str, samples.ids)):
                found.setdefault((str(samples.corpus), name), []).append((run, samples, index))
    pages = []
    for (corpus, name), positions in list(found.items())[:SHOWN]:
        _, samples, index = positions[0]
        pages.append(
            Sheet(
                id=name,
                corpus=corpus,
                caption=str(samples.captions[index]),
                label=str(samples.labels[index]),
                frames=sheets.frames_strip(samples, index),
                shown=[shown(run, own, at, samples, index) for run, own, at in positions],
            )
        )
    return pages


def look_sheets(runs: Sequence[RunRecord]) -> list[LookSheet]:
    """The clips of which runs keep what they read beside them."""
    found: dict[tuple[str, str], list[Shown]] = {}
    for run in runs:
        if (looks := load_looks(run.folder)) is not None:
            for index, name in enumerate(map(str, looks.ids)):
                own = Shown(run.name, f"step {run.last_step:,}", sheets.look_strips(looks, index))
                found.setdefault((str(looks.corpus), name), []).append(own)
    return [LookSheet(name, corpus, shown) for (corpus, name), shown in list(found.items())[:SHOWN]]


def shown(run: RunRecord, samples: Samples, index: int, first: Samples, position: int) -> Shown:
    """A run's rows; where its frames or its caption are not those of the first run, they are shown too."""
    value = sheets.r2(samples, index)
    words = "every hidden tubelet is flat" if np.isnan(value) else f"R² {value:.2f} on this clip"
    result = run.results.get("reconstruction")
    step = run.last_step if result is None or result.step is None else result.step
    caption = str(samples.captions[index])
    words += f", step {step:,}" + (f", caption: {caption}" if caption != str(first.captions[position]) else "")
    strips = sheets.strips(samples, index)
    if not np.array_equal(samples.frames[index], first.frames[position]):
        strips.insert(0, replace(sheets.frames_strip(samples, index), note="this run samples others of the same video"))
    return Shown(run.name, words, strips)


def probes(runs: Sequence[RunRecord]) -> list[Chart]:
    """What was measured while training, beside the baselines, the ceiling and chance."""
    charts = []
    for evaluation, metric in measured_metrics(runs):
        lines = []
        for index, run in enumerate(runs):
            steps, values = run.measured(evaluation, metric)
            if len(steps):
                lines.append(Line(run.name, steps, values, index, dots=True))
        levels = baselines(runs, evaluation, metric)
        near = within_reach(lines, levels)
        beyond = [f"{level.label} {100 * level.value:.1f} %" for level in levels if level not in near]
        charts.append(
            Chart(
                title(evaluation, metric),
                probe_note(runs, bool(near), beyond),
                curves(f"probe-{evaluation}-{metric}", lines, near, percent=True),
            )
        )
    return charts


def within_reach(lines: Sequence[Line], levels: Sequence[Level]) -> list[Level]:
    """Levels that can be drawn without flattening the curves; a far ceiling is said in words."""
    top = max(float(line.values.max()) for line in lines)
    return [level for level in levels if level.label != "ceiling" or level.value <= 2 * top]


def probe_note(runs: Sequence[RunRecord], dotted: bool, beyond: Sequence[str]) -> str:
    limits = {int(limit) for run in runs if finite(limit := run.values.get("evaluate_limit"))}
    words = [f"While training on at most {limit:,} videos of a split, at the end on all." for limit in sorted(limits)]
    words += ["Dotted: baselines without training."] * dotted
    words += [f"Beyond the chart: {', '.join(beyond)}."] * bool(beyond)
    return " ".join(words)


def timelines(run: RunRecord) -> list[Chart]:
    """What happens in a few videos, and what the run says does, over time."""
    charts = []
    for entry, result in run.results.items():
        for video, said in result.details.get("timelines", {}).items():
            rows = [
                (name, [(float(start), float(end), str(label)) for start, end, label in said[name]])
                for name in ("true", "predicted")
            ]
            drawing = bars(f"timeline-{run.name}-{entry}-{video}", rows, float(said["start"]), float(said["end"]))
            charts.append(Chart(video, f"{run.name}, {entry}", drawing))
    return charts


def measured_metrics(runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """(evaluation, metric) pairs of while training that are worth a chart, in the order they appear."""
    pairs = ((one.name, metric) for run in runs for one in run.evaluations for metric in one.metrics)
    return list(dict.fromkeys(pair for pair in pairs if pair[0] == "held_out" or pair[1].rpartition(".")[2] in PROBED))


def baselines(runs: Sequence[RunRecord], evaluation: str, metric: str) -> list[Level]:
    """The metric of the baselines in results.json, and of chance: once where the runs agree, else in their colours."""
    found: dict[str, dict[int, float]] = {}  # level -> run -> value
    for index, run in enumerate(runs):
        result = run.results.get(evaluation)
        for name, one in (result.baselines if result else {}).items():
            if metric in one.metrics:
                found.setdefault(known_as(name), {})[index] = one.metrics[metric].value
        measured = [result.metrics] if result else []
        measured += [one.metrics for one in reversed(run.evaluations) if one.name == evaluation]
        known = (metrics[metric].chance for metrics in measured if metric in metrics)
        if (chance := next((one for one in known if one is not None), None)) is not None:
            found.setdefault("chance", {})[index] = chance
    levels = []
    for name, values in found.items():
        if len(set(values.values())) == 1:
            levels.append(Level(name, next(iter(values.values()))))
        else:
            levels += [Level(name, value, index) for index, value in values.items()]
    return levels


@dataclass(frozen=True)
class MethodComparison:
    """The section that compares methods: what is not the same, plots, tables."""

    title: str
    unfair: list[str]
    charts: list[Chart]
    methods: list[Heading]
    tables: list[tuple[list[str], list[list[str]]]]


def comparison(runs: Sequence[RunRecord]) -> MethodComparison | None:
    """None where there is one run alone, or nothing to compare."""
    if len(runs) < 2 or not any(run.results for run in runs):
        return None
    try:
        found = compare(runs)
    except RunError:
        return None
    title = heading(runs)
    order = {method.name: index for index, method in enumerate(found.methods)}
    means, apart = [], []
    for metric in headlines(found):
        row = found.values[metric]
        means.append(
            (label(*metric), [span_of(row[name], position) for name, position in order.items() if name in row])
        )
    wanted = set(headlines(found))
    for one in found.differences:
        if one.metric in wanted:
            half = one.half or 0.0
            points = list(one.by_seed.values())
            span = Span(order[one.other], points, one.mean, one.mean - half, one.mean + half)
            apart.append((f"{label(*one.metric)}, {one.other}", [span]))
    charts = [
        Chart(
            "Means and spread",
            "Faint: every seed. Bar: the standard deviation over seeds; with one seed, the 95 % interval of the clips.",
            spans(f"compare-means {title}", means),
        )
    ]
    if apart:
        note = f"To {found.methods[0].name}, in points. Bar: the 95 % t-interval of the paired differences."
        charts.append(Chart("Paired differences", note, spans(f"compare-differences {title}", apart, zero=True)))
    heads = [Heading(name, position % SERIES + 1) for name, position in order.items()]
    return MethodComparison(title, found.unfair, charts if means else [], heads, tables_of(found))


def headlines(found: Comparison) -> list[tuple[str, str]]:
    """The metrics that are drawn: shares, at most so many."""
    names = [(entry, metric) for entry, metric in found.values if metric.rpartition(".")[2] in PROBED]
    return names[:DRAWN]


def span_of(value: Value, position: int) -> Span:
    low, high = value.interval or (value.mean - (value.spread or 0), value.mean + (value.spread or 0))
    return Span(position, list(value.by_seed.values()), value.mean, low, high)


@dataclass(frozen=True)
class Entry:
    """A text or a video, as a query or as an answer."""

    text: str
    image: str = ""
    score: str = ""
    correct: bool | None = None  # None where nobody knows


@dataclass(frozen=True)
class Query:
    asked: Entry
    rank: int | None
    answers: list[Entry]


@dataclass(frozen=True)
class Retrievals:
    run: str
    kind: str
    queries: list[Query]


def retrievals(run: RunRecord) -> list[Retrievals]:
    """The examples of searches in the results, by kind, with the pictures that the run keeps of them."""
    pictures: dict[str, str] = {}
    if (thumbnails := load_thumbnails(run.folder)) is not None:
        names = map(str, thumbnails.ids)
        pictures = {name: sheets.thumbnail(frame) for name, frame in zip(names, thumbnails.frames, strict=True)}
    found: dict[str, list[Query]] = {}
    for result in run.results.values():
        for kind, examples in result.examples.items():
            found.setdefault(kind, []).extend(
                Query(
                    Entry(example["query"], pictures.get(example["query"], "")),
                    example.get("rank"),
                    [
                        Entry(one["answer"], pictures.get(one["answer"], ""), f"{one['score']:.2f}", one.get("right"))
                        for one in example["answers"]
                    ],
                )
                for example in examples
            )
    return [Retrievals(run.name, kind, queries) for kind, queries in found.items()]


def commands(run: RunRecord) -> list[str]:
    """What makes this run again, and its measurements."""
    corpus, folder = str(run.corpus.get("path", "CORPUS")), str(run.folder)
    words = [str(word) for word in run.recipe.get("command") or []]
    if words and Path(words[0]).name in ("tubelet", "__main__.py", "cli.py"):
        words = words[1:]
    words = words or ["pretrain", str(run.recipe.get("recipe", "RECIPE")), "--on", corpus, "--out", folder]
    lines = [shlex.join(["tubelet", *words])]
    together: dict[tuple[str, ...], list[str]] = {}  # what follows the names -> the evaluations asked for alike
    for name, result in run.results.items():
        if name == "finetune":
            continue  # measured by the command that trains
        asked = result.asked  # nothing of what training itself measured
        if "command" in asked:
            lines.append(shlex.join(["tubelet", *map(str, asked["command"])]))
            continue
        after = [str(word) for word in asked.get("settings") or []]
        after += ["--baselines"] if set(result.baselines) - {"ceiling"} else []
        where = str(asked.get("on") or corpus)
        together.setdefault((where, *after), []).append(str(asked.get("evaluation") or name))
    for (where, *after), names in together.items():
        lines.append(shlex.join(["tubelet", "evaluate", folder, "--on", where, *names, *after, *trust_option(run)]))
    return lines
