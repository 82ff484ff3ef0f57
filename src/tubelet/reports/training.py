"""What the logs say of the training, as charts: every loss beside its baseline. Start reading at `training`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from tubelet.reports.figures import Line, curves, smoothed
from tubelet.run_record import RunRecord, finite

BASELINE = ".baseline"
KNOWN = {  # losses that a reader knows by other names than the log's
    "pixels": (
        "Pixel loss and the mean-prediction baseline",
        "Mean squared error of the hidden tubelets. Dashed: the mean of the target squared over the same tubelets.",
    ),
    "contrast": (
        "Contrast",
        "InfoNCE between the visible tokens and the caption, in nats. Dashed: the loss at chance.",
    ),
    "cross_entropy": (
        "Cross-entropy",
        "Of mixed clips and smoothed labels while fine-tuning. Dashed: the loss of equal scores for all classes.",
    ),
}
FURTHER = {  # terms that a loss may log beside itself: title, note, and whether they are shares
    "accuracy": ("accuracy", "How often the right one wins among the candidates of its batch.", True),
    "rank": ("effective rank of its embeddings", "Towards 1 all clips come to have the same embedding.", False),
    "std": ("spread of its embeddings", "Their standard deviation over the batch; towards 0 they collapse.", False),
    "perplexity": ("codes in use", "The perplexity of the codes of a step; 1 where all tokens share one code.", False),
}


@dataclass(frozen=True)
class Chart:
    title: str
    note: str
    svg: Markup


def training(runs: Sequence[RunRecord]) -> list[Chart]:
    """Reconstruction, every loss against its baseline, learning rate, throughput: whatever the logs hold."""
    charts = [
        Chart(
            "Reconstruction: R²",
            "0 is what predicting the mean explains, 1 is perfect. Faint: every logged step; bold: running mean.",
            drawn("r2", runs, explained, percent=True, floor=0.0),
        )
    ]
    for number, name in enumerate(losses(runs)):
        title, note = KNOWN.get(name, (name, "Dashed: its baseline, the loss without any input."))
        charts.append(Chart(title, note, drawn(f"loss-{number}", runs, of(name), reference=name + BASELINE)))
        for term, (words, said, share) in FURTHER.items():
            svg = drawn(f"loss-{number}-{term}", runs, of(f"{name}.{term}"), floor=0.0, percent=share)
            charts.append(Chart(f"{title.partition(' and ')[0]}: {words}", said, svg))
    charts += [
        Chart("Learning rate", "", drawn("lr", runs, of("lr"), raw=True)),
        Chart(
            "Throughput",
            "Clips a second, all ranks together.",
            drawn("speed", runs, of("clips_per_second"), floor=0.0),
        ),
    ]
    return [chart for chart in charts if chart.svg]


def losses(runs: Sequence[RunRecord]) -> list[str]:
    """The losses that every reader knows, then those that any run logged beside a baseline, in alphabet."""
    logged = {name for run in runs for record in run.steps for name in record}
    return [
        *(name for name in KNOWN if name in logged),
        *sorted({name for name in logged if name + BASELINE in logged} - KNOWN.keys()),
    ]


def of(name: str) -> Any:
    return lambda run: run.series(name)


def explained(run: RunRecord) -> tuple[np.ndarray, np.ndarray]:
    """1 - pixels/pixels.baseline where both were logged and there was something to predict."""
    points = [
        (record["step"], 1 - record["pixels"] / record["pixels.baseline"])
        for record in run.steps
        if finite(record.get("pixels")) and finite(record.get("pixels.baseline")) and record["pixels.baseline"] > 0
    ]
    return np.asarray([step for step, _ in points]), np.asarray([value for _, value in points])


def drawn(
    name: str, runs: Sequence[RunRecord], pick: Any, *, raw: bool = False, reference: str | None = None, **options: Any
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
