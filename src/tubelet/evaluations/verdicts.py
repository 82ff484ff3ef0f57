"""What a result does not show, in sentences: a run at or below what needs no training, a decoder that copying beats, a
handful of recordings. The terminal, results.json (`notes`) and the report say the same ones.

A figure is above a baseline where its interval excludes the baseline's figure and the baseline's interval excludes its
own; then nothing is said. Start reading at `verdicts`.
"""

from collections.abc import Iterator, Mapping

from tubelet.evaluations.intervals import FEW, Interval
from tubelet.results import Metric, Result

MEASURES = ("accuracy", "r@1", "map", "j")  # of which a sentence is worth while; the others follow them
BASELINES = {
    "random": "the same encoder untrained",
    "mean_image": "the mean-image baseline",
    "raw_pixels": "the raw-pixels baseline",
    "difference_image": "the difference-image baseline",
}


def verdicts(result: Result) -> list[str]:
    """The sentences about one entry of results.json."""
    if not result.metrics:
        return []
    return [*few_groups(result), *baseline_verdicts(result), *copy_verdicts(result)]


def few_groups(result: Result) -> Iterator[str]:
    """Where few recordings are measured; of a probe those of test, not those it was fitted on."""
    counts = {
        split: count["groups"]
        for split, count in result.counts.items()
        if isinstance(count, Mapping) and count.get("used") and "groups" in count
    }
    certain = [metric for metric in result.metrics.values() if metric.interval is not None]
    for split, groups in counts.items():
        if split == "train" and len(counts) > 1:
            continue
        if groups == 1:
            yield f"one group of {split}: nothing can be said of how certain these figures are"
        elif groups < FEW and certain:
            yield f"{groups} groups of {split}: the intervals are wide, for so few recordings say little"


def baseline_verdicts(result: Result) -> Iterator[str]:
    """Where a figure is at or below the best of what needs no training."""
    name = result.evaluation or "fine-tuning"
    for metric, own in result.metrics.items():
        pool, _, measure = metric.rpartition(".")
        others = floor(metric, own, result)
        if measure not in MEASURES or pool in ("held_out", "one_view") or not others:
            continue
        who = max(others, key=lambda other: others[other].value)
        level = others[who]
        figure = f"{measure.replace('_', ' ')}{f' ({pool})' if pool else ''} {percent(own.value)}"
        apart = excludes(own.interval, level.value) and excludes(level.interval, own.value)
        if own.value > level.value and apart:
            continue
        if own.value < level.value and apart:
            yield (
                f"{figure} is {100 * (level.value - own.value):.1f} points below {who} ({percent(level.value)}): this "
                f"run learned nothing that {name} finds"
            )
        else:
            bounds = "" if own.interval is None else f" [{percent(own.interval[0])}, {percent(own.interval[1])}]"
            yield (
                f"{figure}{bounds} does not differ significantly from {who} ({percent(level.value)}): this does not "
                "show that the run learned anything"
            )


def floor(metric: str, own: Metric, result: Result) -> dict[str, Metric]:
    """What needs no training, by how a sentence calls it."""
    found = {
        title: result.baselines[name].metrics[metric]
        for name, title in BASELINES.items()
        if name in result.baselines and metric in result.baselines[name].metrics
    }
    if own.chance is not None:
        found["chance"] = Metric(own.chance)
    if metric == "j" and "still" in result.references:
        found["leaving the first mask where it is"] = Metric(result.references["still"].value)
    return found


def copy_verdicts(result: Result) -> Iterator[str]:
    """Where a decoder predicts no better than the mean, or than copying what is visible."""
    if "r2" not in result.metrics or "copy_r2" not in result.references:
        return
    own, near = result.metrics["r2"], result.references["copy_r2"].value
    if own.value <= 0:
        yield f"the decoder explains nothing (R^2 {own.value:.3f}): predicting the mean of every patch is as good"
    if own.value < near and excludes(own.interval, near):
        yield (
            f"copying the nearest visible patch explains more (R^2 {near:.3f}) than this decoder ({own.value:.3f}): it "
            "learned less than copying"
        )
    elif own.value <= near or not excludes(own.interval, near):
        yield (
            f"this decoder (R^2 {own.value:.3f}) does not differ significantly from copying the nearest visible patch "
            f"({near:.3f})"
        )


def excludes(bounds: Interval | None, value: float) -> bool:
    """Whether an interval leaves a value out; one that is not known does."""
    return bounds is None or not bounds[0] <= value <= bounds[1]


def percent(value: float) -> str:
    return f"{100 * value:.1f}"
