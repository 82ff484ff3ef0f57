"""What a run folder says: its recipe, its log and its results, read whole without torch. Start at `RunRecord`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, TypeGuard

from tubelet.checksums import Damaged, Record, misfit, read_json, read_json_lines
from tubelet.errors import RunError
from tubelet.files import within
from tubelet.results import LOG, RECIPE, Metric, Result, inside, read_results

if TYPE_CHECKING:
    import numpy as np


class LogRecord(TypedDict):
    """What every record of a log says."""

    kind: str
    step: int
    metrics: NotRequired[dict[str, dict[str, Any]]]


def read_log_records(path: Path) -> list[tuple[Record, int]]:
    """Each record with the place in the file where its line ends; a last line that was cut short is left out."""
    remedy = "restore it, or train again into a new folder"
    found = read_json_lines(path, RunError, remedy)
    for number, (record, _) in enumerate(found, 1):
        if fault := misfit(record, LogRecord):
            raise RunError(
                f"{path} is damaged in line {number}, or of an earlier version of tubelet ({fault}); {remedy}"
            )
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
