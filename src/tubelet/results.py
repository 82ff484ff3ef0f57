"""What evaluations measured, as `results.json` keeps it. Tables, pages, cards and studies are made from this and from
the record of a run (`tubelet.run_record`) alone.

A `Metric` carries all that is needed to read it: its 95 % interval, what chance scores, its unit. A `Result` is what an
evaluation found, with how it was measured. Nothing here imports torch. Start reading at `Result`.
"""

import html
import math
import os
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from tubelet.checksums import Damaged, Record, misfit, plain, read_json, write_json
from tubelet.errors import RunError
from tubelet.escape import one_line
from tubelet.files import lock, within

RECIPE, LOG, RESULTS = "recipe.json", "log.jsonl", "results.json"
ACCURACY, BALANCED = "accuracy", "balanced_accuracy"
FRACTION, RATIO, LOSS, RANK = "fraction", "ratio", "loss", "rank"  # units; any other word will do too
SAME = ("corpus", "counts", "settings", "view", "classes")  # of two measurements whose baselines are each other's

# What values of other types come to, in files that a hand has changed.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Metric:
    """One number. A fraction is shown in percent; NaN is written as null."""

    value: float
    interval: tuple[float, float] | None = None  # 95 %
    chance: float | None = None  # what needs no features
    unit: str = FRACTION

    def __str__(self) -> str:
        return self.text + (f" [{', '.join(bounds)}]" if (bounds := self.bounds) else "")

    @property
    def text(self) -> str:
        return format_value(self.value, self.unit)

    @property
    def bounds(self) -> tuple[str, str] | None:
        """The ends of the interval as text, without a unit."""
        if self.interval is None:
            return None
        low, high = (format_value(bound, self.unit).removesuffix(" %") for bound in self.interval)
        return low, high

    def to_json(self) -> Record:
        content = {"value": self.value, "interval": self.interval and list(self.interval), "chance": self.chance}
        return {name: value for name, value in plain(content).items() if name == "value" or value is not None} | {
            "unit": self.unit
        }

    @classmethod
    def from_json(cls, said: Any) -> "Metric":
        """`Damaged` where this is not what `to_json` writes."""
        if fault := misfit(said, MetricJson):
            raise Damaged(fault)
        value, bounds = said["value"], said.get("interval")
        if bounds is not None and len(bounds) != 2:
            raise Damaged(f"interval has {len(bounds)} ends, not 2")
        return cls(
            math.nan if value is None else value,
            None if bounds is None else (bounds[0], bounds[1]),
            said.get("chance"),
            said["unit"],
        )


class MetricJson(TypedDict):
    value: float | None
    interval: NotRequired[list[float]]
    chance: NotRequired[float]
    unit: str


def format_value(value: float, unit: str) -> str:
    """Fractions in percent, the rest in three figures."""
    if unit == FRACTION:
        return f"{100 * value:.1f} %"
    return f"{int(value):,}" if float(value).is_integer() else f"{value:.3g}"


@dataclass(frozen=True)
class Result:
    """What an evaluation found: the numbers, what was decided, and on how many clips.

    An evaluation gives the first half; what is the same for every evaluation is added by `complete`.
    """

    metrics: Mapping[str, Metric] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)  # everything that was decided, by name
    counts: Mapping[str, Any] = field(default_factory=dict)  # by split: used, failed, short, unlabelled, groups
    failed: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by split: "id: reason"
    classes: Sequence[str] = ()
    references: Mapping[str, Metric] = field(default_factory=dict)  # of the clips and masks, whatever the encoder
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by pool: per_class, confusion, predicted
    examples: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)  # queries with their answers
    warnings: Sequence[str] = ()  # what makes the numbers incomparable: clips and captions that gave answers away
    verdict: str = ""  # whether the run helps, in one sentence
    notes: Sequence[str] = ()  # ties, what was not measured, what the numbers do not show
    baselines: Mapping[str, "Result"] = field(default_factory=dict)  # the same measure of what needs no training

    evaluation: str = ""
    settings: str = ""
    corpus: Mapping[str, str] = field(default_factory=dict)  # name and fingerprint
    view: Mapping[str, Any] = field(default_factory=dict)  # which frames and pixels of a video are read
    seed: int | None = None
    step: int | None = None
    trained_on: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by role, the splits that were trained on
    contamination: Mapping[str, Any] = field(default_factory=dict)  # the clips that were, by id, and those like them
    asked: Mapping[str, Any] = field(default_factory=dict)  # the words that measure this again
    versions: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(one_line(line) for line in lines(self))

    def _repr_html_(self) -> str:
        """A table a notebook shows, every text of it escaped."""
        columns = {name: [metric.text, ", ".join(metric.bounds or ())] for name, metric in self.metrics.items()}
        head = ["", "value", "95 % interval", *self.baselines]
        if any(metric.chance is not None for metric in self.metrics.values()):
            head.insert(3, "chance")
            for name, metric in self.metrics.items():
                columns[name].append("" if metric.chance is None else format_value(metric.chance, metric.unit))
        for name, cells in columns.items():
            cells += (one.metrics[name].text if name in one.metrics else "" for one in self.baselines.values())
        rows = [elements("td", [name, *cells]) for name, cells in columns.items()]
        notes = elements("li", [*[self.verdict] * bool(self.verdict), *self.warnings, *self.notes])
        table = (
            f"<table><caption>{escaped(self.title)}</caption><thead><tr>{elements('th', head)}</tr></thead>"
            f"<tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"
        )
        return table + (f"<ul>{notes}</ul>" if notes else "")

    @property
    def measure(self) -> str:
        """The accuracy that selected and comes first."""
        return str(self.protocol.get("measure", ACCURACY))

    @property
    def title(self) -> str:
        return ", ".join(filter(None, (self.evaluation, str(self.corpus.get("name", "")))))

    def to_json(self) -> Record:
        """What JSON can say of it; what is empty is left out."""
        content: Record = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in NESTED:
                content[one.name] = {name: part.to_json() for name, part in value.items()}
            elif value is not None:
                content[one.name] = plain(value)
        return {name: value for name, value in content.items() if value not in ("", [], {})} | {
            "metrics": content["metrics"]
        }

    @classmethod
    def from_json(cls, said: Any) -> "Result":
        """`Damaged` where this is not what `to_json` writes."""
        fault = misfit(said, dict[str, Any])
        if fault or "metrics" not in said:
            raise Damaged(fault or "it lacks metrics")
        known: Record = {}
        for one, shape in typing.get_type_hints(cls).items():
            if one not in said:
                continue
            value = said[one]
            if (fault := misfit(value, dict[str, dict[str, Any]] if one in NESTED else shape, one)) is not None:
                raise Damaged(fault)
            if one in NESTED:
                kind = Result if one == "baselines" else Metric
                known[one] = {name: inside(name, kind.from_json, part) for name, part in value.items()}
            else:
                known[one] = tuple(value) if isinstance(value, list) else value
        return cls(**known)


class Details(TypedDict, total=False):
    """What an evaluation knows of each class and clip."""

    per_class: dict[str, float]
    by_group: dict[str, dict[str, list[int]]]  # by group and class: how many clips are right, of how many
    confusion: list[list[int]]
    predicted: dict[str, str]  # by clip


class Answer(TypedDict):
    answer: str
    score: float
    right: bool | None  # None: nobody knows


class QueryExample(TypedDict):
    """A query with its first answers."""

    query: str
    rank: NotRequired[int]
    answers: list[Answer]


NESTED = ("metrics", "references", "baselines")


def inside(name: str, read: Callable[[Any], Any], said: Any) -> Any:
    try:
        return read(said)
    except Damaged as fault:
        raise Damaged(f"{name}: {fault}") from None


def lines(result: Result) -> list[str]:
    """A line a metric, then warnings and notes."""
    found = [result.title] if result.title else []
    for name, metric in result.metrics.items():
        chance = "" if metric.chance is None else f", chance {format_value(metric.chance, metric.unit)}"
        others = [
            f", {who} {other.metrics[name].text}" for who, other in result.baselines.items() if name in other.metrics
        ]
        found.append(f"  {name}: {metric}{chance}{''.join(others)}")
    found += [result.verdict] * bool(result.verdict)
    return [*found, *(f"warning: {text}" for text in result.warnings), *(f"note: {text}" for text in result.notes)]


def escaped(text: str) -> str:
    return html.escape(one_line(text))


def elements(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escaped(text)}</{tag}>" for text in texts)


def read_results(run: Path) -> dict[str, Result]:
    """What was measured of a run, by entry; nothing where there is no results.json."""
    path = within(run, RESULTS)
    if not os.path.lexists(path):
        return {}
    remedy = "delete it and evaluate again"
    found = read_json(path, dict[str, Any], RunError, remedy)
    try:
        return {name: inside(repr(name), Result.from_json, said) for name, said in found.items()}
    except Damaged as fault:
        raise RunError(f"{path} is damaged, or of an earlier version of tubelet ({fault}); {remedy}") from None


def write_result(
    run: Path, name: str, result: Result, judge: Callable[[Result], Result] = lambda result: result
) -> Result:
    """Writes one entry next to the others and gives back what was written. Baselines measured before stay, where they
    were measured in the same way; `judge` adds what it says of the whole."""
    with lock(run / ".results.lock", RunError(f"another command is writing the results of {run}: wait until it ends")):
        results = read_results(run)
        result = Result.from_json(result.to_json())
        before = results.get(name)
        if before is not None and all(getattr(before, part) == getattr(result, part) for part in SAME):
            result = replace(result, baselines={**before.baselines, **result.baselines})
        result = judge(result)
        results[name] = result
        write_json(run / RESULTS, {entry: one.to_json() for entry, one in results.items()})
    return result
