"""The page: what is said about the runs, in which order. Start reading at `write_report`."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tubelet.errors import RunError
from tubelet.report import sheets
from tubelet.report.figures import SERIES, Level, Line, curves, smoothed
from tubelet.report.folder import Run, number, read_runs
from tubelet.report.notices import notices
from tubelet.report.tables import at_a_glance, confusions, recipe_tables, results_tables

MARK = '<meta name="generator" content="tubelet report">'
HERE = Path(__file__).parent
SHOWN = 8  # sample clips on the page


def write_report(folders: Sequence[Path | str], out: Path | str) -> Path:
    """Reads the run folders and writes the page. An existing file is replaced only if it is a report."""
    out = Path(out)
    if out.is_dir():
        raise RunError(f"{out} is a folder; name the file to write, such as --out {out / 'report.html'}")
    if out.exists() and MARK not in out.read_text(encoding="utf-8", errors="replace")[:1000]:
        raise RunError(f"{out} exists and is not a report; choose another --out")
    page = compose(read_runs([Path(folder) for folder in folders]))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out


def compose(runs: Sequence[Run]) -> str:
    """The whole page as text: the same runs give the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        mark=Markup(MARK),
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        title=" · ".join(run.name for run in runs),
        runs=[Heading(run.name, index % SERIES + 1) for index, run in enumerate(runs)],
        several=len(runs) > 1,
        corpora=sorted({str(run.corpus.get("name", "unknown corpus")) for run in runs}),
        glance=at_a_glance(runs),
        notices=[notice for run in runs for notice in notices(run)],
        sheets=contact_sheets(runs),
        training=training(runs),
        probes=probes(runs),
        results=results_tables(runs),
        confusions=[confusion for run in runs for confusion in confusions(run)],
        retrievals=[found for run in runs if (found := retrievals(run)).groups],
        recipes=recipe_tables(runs),
        reruns=[Rerun(run.name, commands(run)) for run in runs],
    )


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
    skill: str
    strips: list[sheets.Strip]


@dataclass(frozen=True)
class Sheet:
    """One clip: its frames once, then what every run made of it."""

    id: str
    caption: str
    label: str
    frames: sheets.Strip
    shown: list[Shown]


def contact_sheets(runs: Sequence[Run]) -> list[Sheet]:
    """The clips that the runs were shown, in the order of the first run that has them."""
    found: dict[tuple[str, bytes], list[tuple[Run, int]]] = {}
    for run in runs:
        for index in range(len(run.samples) if run.samples is not None else 0):
            assert run.samples is not None
            same = (str(run.samples.ids[index]), run.samples.frames[index].tobytes())
            found.setdefault(same, []).append((run, index))
    pages = []
    for (identity, _), places in list(found.items())[:SHOWN]:
        first, index = places[0]
        assert first.samples is not None
        pages.append(
            Sheet(
                id=identity,
                caption=next((text for run, at in places if (text := str(run.samples.captions[at]))), ""),  # type: ignore[union-attr]
                label=str(first.samples.labels[index]),
                frames=sheets.frames_strip(first.samples, index),
                shown=[shown(run, at) for run, at in places],
            )
        )
    return pages


def shown(run: Run, index: int) -> Shown:
    assert run.samples is not None
    value = sheets.skill(run.samples, index)
    words = "every hidden tubelet is flat" if np.isnan(value) else f"1 − loss/trivial {value:.2f} on this clip"
    return Shown(run.name, f"{words}, step {int(run.samples.step):,}", sheets.strips(run.samples, index))


@dataclass(frozen=True)
class Chart:
    title: str
    note: str
    svg: Markup


def training(runs: Sequence[Run]) -> list[Chart]:
    """Reconstruction against its trivial level, contrast, rate, throughput: whatever the logs hold."""
    charts = [
        Chart(
            "Reconstruction: 1 − loss / trivial",
            "0 is what predicting the mean costs, 1 is perfect. Faint: every logged step; bold: running mean.",
            drawn("skill", runs, trivial_share, percent=True, floor=0.0),
        ),
        Chart(
            "Pixel loss and its trivial level",
            "Mean squared error of the hidden tubelets. Dashed: the mean of the target squared over the same tubelets.",
            drawn("pixels", runs, lambda run: run.series("pixels"), reference="pixels.trivial"),
        ),
        Chart(
            "Contrast",
            "InfoNCE between the visible tokens and the caption, in nats.",
            drawn("contrast", runs, lambda run: run.series("contrast")),
        ),
        Chart(
            "Contrast accuracy",
            "How often the right caption wins in its batch.",
            drawn("contrast-accuracy", runs, lambda run: run.series("contrast.accuracy"), percent=True, floor=0.0),
        ),
        Chart("Learning rate", "", drawn("lr", runs, lambda run: run.series("lr"), raw=True)),
        Chart(
            "Throughput",
            "Clips a second, all ranks together.",
            drawn("speed", runs, lambda run: run.series("clips_per_second"), floor=0.0),
        ),
    ]
    return [chart for chart in charts if chart.svg]


def trivial_share(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """1 - pixels/pixels.trivial where both were logged and there was something to predict."""
    points = [
        (record["step"], 1 - record["pixels"] / record["pixels.trivial"])
        for record in run.steps
        if number(record.get("pixels")) and number(record.get("pixels.trivial")) and record["pixels.trivial"] > 0
    ]
    return np.asarray([step for step, _ in points]), np.asarray([value for _, value in points])


def drawn(
    name: str, runs: Sequence[Run], pick: Any, *, raw: bool = False, reference: str | None = None, **options: Any
) -> Markup:
    """A chart with one colour a run; empty where no run has a point."""
    lines = []
    for index, run in enumerate(runs):
        steps, values = pick(run)
        if len(steps) == 0:
            continue
        smooth = values if raw else smoothed(values)
        if smooth is not values:
            lines.append(Line(run.name, steps, values, index, faint=True))
        lines.append(Line(run.name, steps, smooth, index, dots=len(steps) == 1))
        if reference:
            lines.append(Line(reference, *thinned(run.series(reference)), index, dashed=True))
    return curves(name, lines, **options) if lines else Markup("")


def thinned(series: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    steps, values = series
    return steps, smoothed(values)


def probes(runs: Sequence[Run]) -> list[Chart]:
    """Accuracies measured while training, beside the baselines of the finished measurement."""
    charts = []
    for evaluation, metric in measured_metrics(runs):
        lines = [
            Line(run.name, steps, values, index, dots=True)
            for index, run in enumerate(runs)
            if len((found := run.measured(evaluation, metric))[0])
            for steps, values in [found]
        ]
        levels = baselines(runs, evaluation, metric)
        share = all(0 <= value <= 1 for line in lines for value in line.values)
        charts.append(
            Chart(
                f"{evaluation}: {metric}",
                "Measured while training." + (" Dotted: baselines and ceiling." if levels else ""),
                curves(
                    f"probe-{evaluation}-{metric}".replace(".", "-").replace("@", "-"), lines, levels, percent=share
                ),
            )
        )
    return charts


def measured_metrics(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """(evaluation, metric) pairs that were measured while training, in the order they appear."""
    pairs: dict[tuple[str, str], None] = {}
    for run in runs:
        for record in run.evaluations:
            for metric, value in (record.get("metrics") or {}).items():
                if number(value):
                    pairs[str(record.get("name")), metric] = None
    return list(pairs)


def baselines(runs: Sequence[Run], evaluation: str, metric: str) -> list[Level]:
    """Baselines beside the metric in results.json, once each where the runs agree."""
    levels: dict[tuple[str, float], Level] = {}
    for run in runs:
        result = run.results.get(evaluation) or {}
        for name, metrics in (result.get("baselines") or {}).items():
            value = metrics.get(metric) if isinstance(metrics, dict) else metrics
            if number(value):
                levels[name, float(value)] = Level(str(name), float(value))
    return list(levels.values())


@dataclass(frozen=True)
class Answer:
    text: str
    image: str
    score: str
    correct: bool


@dataclass(frozen=True)
class Query:
    text: str
    image: str
    rank: int
    answers: list[Answer]


@dataclass(frozen=True)
class Group:
    kind: str
    queries: list[Query]


@dataclass(frozen=True)
class Retrievals:
    run: str
    groups: list[Group] = field(default_factory=list)


def retrievals(run: Run) -> Retrievals:
    """The examples of searches that a run holds, by kind."""
    if run.retrieval is None:
        return Retrievals(run.name)
    found = run.retrieval
    pictures = [sheets.thumbnail(frame) for frame in found.thumbnails]

    def entry(kind: str, index: int) -> tuple[str, str]:
        return (str(found.texts[index]), "") if kind == "text" else (str(found.names[index]), pictures[index])

    groups: dict[str, list[Query]] = {}
    for place, kind in enumerate(map(str, found.kind)):
        asked, answered = kind.split(" to ")
        text, image = entry(asked, int(found.query[place]))
        answers = [
            Answer(*entry(answered, int(index)), score=f"{float(score):.2f}", correct=bool(correct))
            for index, score, correct in zip(
                found.answers[place], found.score[place], found.correct[place], strict=True
            )
        ]
        groups.setdefault(kind, []).append(Query(text, image, int(found.rank[place]), answers))
    return Retrievals(run.name, [Group(kind, queries) for kind, queries in groups.items()])


def commands(run: Run) -> list[str]:
    """What makes this run again, and its measurements."""
    corpus, folder = str(run.corpus.get("path", "CORPUS")), str(run.folder)
    words = [str(word) for word in run.recipe.get("command") or []]
    if words and Path(words[0]).name in ("tubelet", "__main__.py", "cli.py"):
        words = words[1:]
    words = words or ["pretrain", str(run.recipe.get("recipe", "RECIPE")), "--on", corpus, "--out", folder]
    lines = [shlex.join(["tubelet", *words])]
    if run.results:
        lines.append(shlex.join(["tubelet", "evaluate", folder, "--on", corpus, *run.results]))
    return lines
