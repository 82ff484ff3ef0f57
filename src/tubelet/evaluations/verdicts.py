"""What a result does not show, in sentences: a run at or below what needs no training, a decoder that copying beats, a
handful of recordings. The terminal, results.json (`warnings`) and the report say the same ones.

A figure is above a baseline where its interval excludes the baseline's figure and the baseline's interval excludes its
own; then nothing is said. Start reading at `verdicts`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tubelet.evaluations.intervals import FEW

MEASURES = ("accuracy", "r@1", "map", "j")  # of which a sentence is worth while; the others follow them
BASELINES = {
    "random": "the same encoder untrained",
    "mean_image": "the mean-image baseline",
    "raw_pixels": "the raw-pixels baseline",
}
Metrics = Mapping[str, Any]


def verdicts(result: Mapping[str, Any]) -> list[str]:
    """The sentences about one entry of results.json."""
    metrics = result.get("metrics") or {}
    if not metrics:
        return []
    return [*few_groups(result), *below(result, metrics), *copied(result, metrics)]


def few_groups(result: Mapping[str, Any]) -> Iterator[str]:
    """Where few recordings are measured; of a probe those of test, not those it was fitted on."""
    counts = {
        split: count["groups"]
        for split, count in (result.get("counts") or {}).items()
        if isinstance(count, Mapping) and count.get("used") and "groups" in count
    }
    for split, groups in counts.items():
        if split == "train" and len(counts) > 1:
            continue
        if groups == 1:
            yield f"one group of {split}: nothing can be said of how certain these figures are"
        elif groups < FEW and result.get("intervals"):
            yield f"{groups} groups of {split}: the intervals are wide, for so few recordings say little"


def below(result: Mapping[str, Any], metrics: Metrics) -> Iterator[str]:
    """Where a figure is at or below the best of what needs no training."""
    name = str(result.get("evaluation", "fine-tuning"))
    for metric, value in metrics.items():
        pool, _, measure = metric.rpartition(".")
        others = floor(metric, pool, measure, result, metrics)
        if measure not in MEASURES or pool in ("held_out", "one_view") or not others:
            continue
        who = max(others, key=lambda other: others[other][0])
        level, around = others[who]
        own = (result.get("intervals") or {}).get(metric)
        told = f"{measure.replace('_', ' ')}{f' ({pool})' if pool else ''} {percent(value)}"
        if value > level and excludes(own, level) and excludes(around, value):
            continue
        if value < level and excludes(own, level) and excludes(around, value):
            yield (
                f"{told} is {100 * (level - value):.1f} points below {who} ({percent(level)}): this run learned "
                f"nothing that {name} finds"
            )
        else:
            bounds = "" if own is None else f" [{percent(own[0])}, {percent(own[1])}]"
            yield (
                f"{told}{bounds} cannot be told from {who} ({percent(level)}): that this run learned something is not "
                "shown here"
            )


def floor(
    metric: str, pool: str, measure: str, result: Mapping[str, Any], metrics: Metrics
) -> dict[str, tuple[float, Any]]:
    """What needs no training, by how a sentence calls it: its figure, and its interval where it has one."""
    found: dict[str, tuple[float, Any]] = {}
    for name, told in BASELINES.items():
        part = (result.get("baselines") or {}).get(name) or {}
        if (level := (part.get("metrics") or {}).get(metric)) is not None:
            found[told] = level, (part.get("intervals") or {}).get(metric)
    kind = pool.partition(".")[0]
    names = {f"{kind}.chance_{measure}": "chance"}
    if measure == "accuracy":
        names = {"chance": "chance"}
        if "way_" not in pool:
            names["majority"] = "always answering the commonest class of train"
    if measure == "j":
        names = {"still": "leaving the first mask where it is"}
    return found | {told: (metrics[name], None) for name, told in names.items() if name in metrics}


def copied(result: Mapping[str, Any], metrics: Metrics) -> Iterator[str]:
    """Where a decoder predicts no better than the mean, or than copying what is visible."""
    if "skill" not in metrics or "nearest_skill" not in metrics:
        return
    skill, near = metrics["skill"], metrics["nearest_skill"]
    own = (result.get("intervals") or {}).get("skill")
    if skill <= 0:
        yield f"the decoder explains nothing (R^2 {skill:.3f}): predicting the mean of every patch is as good"
    if skill < near and excludes(own, near):
        yield (
            f"copying the nearest visible patch explains more (R^2 {near:.3f}) than this decoder ({skill:.3f}): it "
            "learned less than copying"
        )
    elif skill <= near or not excludes(own, near):
        yield f"this decoder (R^2 {skill:.3f}) cannot be told from copying the nearest visible patch ({near:.3f})"


def excludes(bounds: Any, value: float) -> bool:
    """Whether an interval leaves a value out; one that is not known does."""
    return bounds is None or not bounds[0] <= value <= bounds[1]


def percent(value: float) -> str:
    return f"{100 * value:.1f}"
