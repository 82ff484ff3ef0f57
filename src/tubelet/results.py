"""What a run folder says: its recipe, its log, its results. Tables, pages, cards and studies are made from this alone.

A `Metric` carries all that is needed to read it: its 95 % interval, what chance scores, its unit. A `Result` is what an
evaluation found, with how it was measured. `RunRecord` is a whole run folder. Nothing here imports torch. Start
reading at `Result`.
"""

import html
import math
import os
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, TypeGuard

from tubelet.checksums import Damaged, Record, misfit, plain, read_json, read_json_lines, write_json
from tubelet.errors import RunError
from tubelet.escape import one_line
from tubelet.files import lock, within

if TYPE_CHECKING:
    import numpy as np

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


class LogRecord(TypedDict):
    """What every record of a log says."""

    kind: str
    step: int
    metrics: NotRequired[dict[str, dict[str, Any]]]


def read_log_records(path: Path) -> list[tuple[Record, int]]:
    """Each record with the place in the file where its line ends; a last line that was cut short is left out."""
    remedy = "restore it, or train again into a new folder"
    found = read_json_lines(path, RunError, remedy)
    latest = 0
    for number, (record, _) in enumerate(found, 1):
        if fault := misfit(record, LogRecord):
            raise RunError(
                f"{path} is damaged in line {number}, or of an earlier version of tubelet ({fault}); {remedy}"
            )
        if record["kind"] == "step" and record["step"] < latest:
            raise RunError(
                f"{path} is damaged in line {number}: step {record['step']} after step {latest}, as where lines were "
                f"copied or put in another order; {remedy}"
            )
        latest = record["step"] if record["kind"] == "step" else latest
    return found


@dataclass(frozen=True)
class Evaluated:
    """What one evaluation measured at a step of the training."""

    step: int
    name: str
    metrics: Mapping[str, Metric]


@dataclass(frozen=True)
class RunRecord:
    """What a run folder says. `name` tells it from the other runs of a report."""

    folder: Path
    name: str
    recipe: Record
    steps: Sequence[Record] = ()  # one per logged step, in order, the last word where two speak
    evaluations: Sequence[Evaluated] = ()  # those made while training
    results: Mapping[str, Result] = field(default_factory=dict)
    notes: Sequence[str] = ()  # what the reading itself had to say

    @classmethod
    def read(cls, folder: Path | str, name: str | None = None) -> "RunRecord":
        """A run folder, read whole. A damaged part is one clear line."""
        folder = Path(folder)
        if not folder.is_dir():
            raise RunError(
                f"no run folder at {folder}; make one with `tubelet pretrain RECIPE --on CORPUS --out {folder}`"
            )
        if not (folder / RECIPE).exists():
            raise RunError(
                f"{folder} is not a run folder: it holds no recipe.json; name a folder that `tubelet pretrain` wrote"
            )
        notes: list[str] = []
        steps, evaluations = read_log_parts(within(folder, LOG), notes)
        remedy = "restore it, or train again into a new folder"
        recipe = read_json(within(folder, RECIPE), dict[str, Any], RunError, remedy)
        for part in ("corpus", "values"):
            if not isinstance(recipe.get(part) or {}, dict):
                raise RunError(f"{folder / RECIPE}: {part} is {recipe[part]!r}, and no object; {remedy}")
        return cls(folder, name or folder.resolve().name, recipe, steps, evaluations, read_results(folder), notes)

    @property
    def corpus(self) -> Record:
        return dict(self.recipe.get("corpus") or {})

    @property
    def values(self) -> Record:
        """The whole recipe, dotted."""
        return dict(self.recipe.get("values") or {})

    @property
    def seed(self) -> int:
        return int(self.values.get("seed") or 0)

    @property
    def imported(self) -> bool:
        """Weights from elsewhere: what the recipe says of training is not how they came to be."""
        return self.recipe.get("recipe") == "imported"

    @property
    def pretrained(self) -> bool:
        """Whether `tubelet pretrain` (or an import) made it, rather than fine-tuning."""
        return self.recipe.get("kind", "pretrain") == "pretrain"

    @property
    def last_step(self) -> int:
        return int(self.steps[-1]["step"]) if self.steps else 0

    def series(self, term: str) -> "tuple[np.ndarray, np.ndarray]":
        """Steps and values where this term was logged as a finite number."""
        return series((record["step"], record.get(term)) for record in self.steps)

    def measured(self, evaluation: str, metric: str) -> "tuple[np.ndarray, np.ndarray]":
        """Steps and values of a metric that was measured while training."""
        return series(
            (one.step, one.metrics[metric].value)
            for one in self.evaluations
            if one.name == evaluation and metric in one.metrics
        )


def series(points: Iterable[tuple[int, Any]]) -> "tuple[np.ndarray, np.ndarray]":
    import numpy as np

    steps, values = np.array([point for point in points if finite(point[1])], dtype=np.float64).reshape(-1, 2).T
    return steps.astype(np.int64), values


def finite(value: object) -> TypeGuard[float]:
    """Whether it is an int or a float, and finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_log_parts(path: Path, notes: list[str] | None = None) -> tuple[list[Record], list[Evaluated]]:
    """Steps and evaluations. Of a step that was logged twice (a resumed run), the last line holds.

    A last line cut short is what an interrupted run leaves: it is left out, with a note.
    """
    found = read_log_records(path)
    if notes is not None and found and path.stat().st_size > found[-1][1]:
        notes.append("The last line of log.jsonl is cut short (an interrupted run); it is left out.")
    steps: dict[int, Record] = {}
    evaluations: dict[tuple[int, str], Evaluated] = {}
    for position, (record, _) in enumerate(found, 1):
        step = record["step"]
        if record["kind"] == "step":
            steps[step] = record
        elif record["kind"] == "evaluation":
            name = str(record.get("name"))
            try:
                metrics = {one: inside(one, Metric.from_json, said) for one, said in record.get("metrics", {}).items()}
            except Damaged as fault:
                raise RunError(
                    f"{path} is damaged in line {position} ({fault}); train again into a new folder"
                ) from None
            evaluations[step, name] = Evaluated(step, name, metrics)
    return [steps[step] for step in sorted(steps)], [evaluations[at] for at in sorted(evaluations)]


def read_runs(folders: Iterable[Path | str]) -> list[RunRecord]:
    """Every folder read, under names that differ."""
    paths = [Path(folder) for folder in folders]
    return [RunRecord.read(path, name) for path, name in zip(paths, distinct(paths), strict=True)]


def distinct(folders: Sequence[Path]) -> list[str]:
    """The shortest tails of the paths that tell them apart; a folder named twice is an error."""
    parts = [folder.resolve().parts for folder in folders]
    for index, one in enumerate(parts):
        if one in parts[:index]:
            raise RunError(f"{folders[index]} is named twice; name every run once")
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(part) for part in parts]
