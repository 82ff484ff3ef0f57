"""Whether a run helps, in one sentence, and what a result does not show: a figure at or below what needs no training, a
decoder that copying beats, a handful of recordings. The terminal, results.json (`verdict`, `notes`), the report and the
model card say the same ones.

Where the right answers of each group are known, run and baseline are compared on the same groups: the run helps where
it is above chance and the 95 % interval of the difference to every baseline lies above 0. Each takes the features
(their mean, or time steps) that held-out clips of train prefer. Of other measures a figure is above a baseline where
its interval excludes the baseline's figure and the baseline's interval excludes its own; then nothing is said.
Start reading at `judged`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tubelet.evaluations.intervals import FEW, Interval, of_difference
from tubelet.results import ACCURACY, BALANCED, Metric, Result

BY_GROUP = ("linear", "knn", "attentive")  # what can be cross-validated by group
MEASURES = ("accuracy", "r@1", "map", "j")  # of which a sentence is worth while; the others follow them
BASELINES = {
    "random": "the same encoder untrained",
    "mean_image": "the mean-image baseline",
    "raw_pixels": "the raw-pixels baseline",
    "difference_image": "the difference-image baseline",
}
SHORT = {
    "random": "the untrained encoder",
    "mean_image": "the mean image",
    "raw_pixels": "raw pixels",
    "difference_image": "the difference image",
}


TRIED = {  # by the baseline that is best, what may help
    "random": "training took from the encoder what it had at random initialisation: train for fewer steps, or keep the "
    "best (keep_best=linear evaluate_every=50)",
    "mean_image": "appearance tells these classes apart, and the run lost it: begin with pretrained weights "
    "(init=...), or train on more videos",
    "raw_pixels": "positions of pixels tell these classes apart, and the run lost them: a smaller clip.tubelet_size, "
    "or pretrained weights to begin with (init=...)",
    "difference_image": "motion tells these classes apart: take the background away (clip.subtract_background=True, as "
    "the recipe few_clips does), hide what moves (masker=Motion), or take frames further apart (data.sampling.stride)",
}
UNSURE = "measure more groups, or several seeds with `tubelet compare`"


def judged(result: Result) -> Result:
    """With its verdict, and the sentences about what it does not show."""
    return replace(result, verdict=verdict(result), notes=(*result.notes, *verdicts(result)))


@dataclass(frozen=True)
class Against:
    """A baseline, and by how much the run is above it."""

    name: str
    value: float
    difference: float
    interval: Interval | None

    def __str__(self) -> str:
        bounds = "" if self.interval is None else f" [{points(self.interval[0])}, {points(self.interval[1])}]"
        return f"{SHORT[self.name]} {percent(self.value)} ({points(self.difference)}{bounds})"


def verdict(result: Result) -> str:
    """Whether the run helps, in one sentence; nothing where no baseline was measured on the same groups."""
    pool, found = preferred(result), comparisons(result)
    if pool is None or not found:
        return ""
    own = result.metrics[f"{pool}.{result.measure}"]
    level = [] if own.chance is None else [f"chance {percent(own.chance)}"]
    against = ", ".join([*level, *map(str, found)])
    figure = f"{result.measure.replace('_', ' ')} {percent(own.value)} ({pool.replace('_', ' ')}) against {against}"
    best = max(found, key=lambda one: one.value)
    by_chance = own.interval is None or (own.chance is not None and own.interval[0] <= own.chance)
    if any(one.difference <= 0 for one in found):
        return f"this run does not help {result.evaluation}: {figure}; {TRIED[best.name]}"
    if by_chance or any(one.interval is None or one.interval[0] <= 0 for one in found):
        return f"it is not shown that this run helps {result.evaluation}: {figure}; {UNSURE}"
    if len(found) < len(SHORT):
        return f"this run is above what was measured, {figure}; --baselines measures the others too"
    return f"this run helps {result.evaluation}: {figure}"


def comparisons(result: Result) -> list[Against]:
    """The run with each baseline whose right answers are known by group, of the same clips."""
    found = []
    own = preferred(result)
    for name in SHORT:
        other = result.baselines.get(name)
        if other is None or own is None or (pool := preferred(other)) is None:
            continue
        groups, theirs = result.details[own]["by_group"], other.details[pool]["by_group"]
        compared = of_difference(groups, theirs, balanced=result.measure == BALANCED, seed=result.seed or 0)
        metric = other.metrics.get(f"{pool}.{result.measure}")
        if compared is not None and metric is not None and f"{own}.{result.measure}" in result.metrics:
            found.append(Against(name, metric.value, *compared))
    return found


def preferred(result: Result) -> str | None:
    """The pool of features with the highest score on held-out clips of train; the first where nothing is held out."""
    pools = [pool for pool, part in result.details.items() if "by_group" in part]
    scores = result.protocol.get("held_out_accuracy", {})
    return max(pools, key=lambda pool: max((scores.get(pool) or {}).values(), default=0.0), default=None)


def verdicts(result: Result) -> list[str]:
    """The sentences about one entry of results.json."""
    if not result.metrics:
        return []
    return [*few_groups(result), *constant_answers(result), *baseline_verdicts(result), *copy_verdicts(result)]


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
        where = "" if split == "all" else f" of {split}"
        others = ""
        if split == "test" and result.evaluation in BY_GROUP:
            others = f"; {result.evaluation}.cv=leave_one_group_out tests every group"
        if groups == 1:
            yield f"one group{where}: nothing can be said of how certain these figures are, nor of other groups{others}"
        elif groups < FEW and certain:
            yield f"{groups} groups{where}: the intervals are wide, for so few recordings say little{others}"


def constant_answers(result: Result) -> Iterator[str]:
    """Where a classifier answers the same of every clip, so that its accuracy is the share of that class."""
    for pool, part in result.details.items():
        answers = set(part.get("predicted", {}).values())
        if len(answers) == 1 and len(part.get("per_class", {})) > 1:
            share = result.metrics.get(f"{pool}.{ACCURACY}") or result.metrics.get(ACCURACY)
            of = "" if share is None else f" ({percent(share.value)})"
            yield f"{pool}: every clip is answered with {answers.pop()}, so the accuracy{of} is the share of that class"


def baseline_verdicts(result: Result) -> Iterator[str]:
    """Where a figure is at or below the best of what needs no training, as far as the verdict does not say it."""
    name = result.evaluation or "fine-tuning"
    compared = {one.name for one in comparisons(result)}
    measures = [result.measure if one == ACCURACY else one for one in MEASURES]
    alone = any(
        isinstance(count, Mapping) and count.get("groups") == 1 and split != "train"
        for split, count in result.counts.items()
    )
    for metric, own in result.metrics.items():
        pool, _, measure = metric.rpartition(".")
        others = floor(metric, own, result, compared)
        if measure not in measures or pool in ("held_out", "one_view") or not others:
            continue
        if own.interval is None and alone:  # of which `few_groups` says that nothing can be said
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


def floor(metric: str, own: Metric, result: Result, compared: set[str]) -> dict[str, Metric]:
    """What needs no training, by how a sentence calls it; without the baselines that the verdict compares with."""
    found = {
        title: result.baselines[name].metrics[metric]
        for name, title in BASELINES.items()
        if name not in compared and name in result.baselines and metric in result.baselines[name].metrics
    }
    if own.chance is not None and own.chance < 1:  # nothing is above a chance of 1
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


def points(value: float) -> str:
    return f"{100 * value:+.1f}"
