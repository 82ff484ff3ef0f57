"""A run folder, read whole: recipe.json, log.jsonl, results.json, pictures. A damaged part is one clear line."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeGuard

import numpy as np

from tubelet.checksums import misfit, read_json, read_json_lines
from tubelet.errors import RunError
from tubelet.files import within
from tubelet.report.pictures import Samples, Thumbnails, load_samples, load_thumbnails

# What values of other types come to, in files that a hand has changed.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
Record = dict[str, Any]
Series = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Run:
    """What a run folder says. `name` tells it from the other runs of a report."""

    folder: Path
    name: str
    recipe: Record
    steps: list[Record] = field(default_factory=list)  # one per logged step, in order, the last word where two speak
    evaluations: list[Record] = field(default_factory=list)  # those made while training
    results: Record = field(default_factory=dict)
    samples: Samples | None = None
    thumbnails: Thumbnails | None = None
    remarks: list[str] = field(default_factory=list)  # what the reading itself had to say

    @property
    def corpus(self) -> Record:
        return dict(self.recipe.get("corpus") or {})

    @property
    def values(self) -> Record:
        """The whole recipe, dotted."""
        return dict(self.recipe.get("values") or {})

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

    def series(self, term: str) -> Series:
        """Steps and values where this term was logged as a finite number."""
        return series(self.steps, lambda record: record.get(term))

    def measured(self, evaluation: str, metric: str) -> Series:
        """Steps and values of a metric that was measured while training."""
        records = [record for record in self.evaluations if record.get("name") == evaluation]
        return series(records, lambda record: (record.get("metrics") or {}).get(metric))


def series(records: Iterable[Record], pick: Any) -> Series:
    points = [(record["step"], pick(record)) for record in records if number(pick(record))]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.asarray(steps, dtype=np.int64), np.asarray(values, dtype=np.float64)


def number(value: object) -> TypeGuard[float]:
    """An int or a float that is finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def read_runs(folders: Iterable[Path]) -> list[Run]:
    """Every folder read, under names that differ."""
    folders = [Path(folder) for folder in folders]
    return [read_run(folder, name) for folder, name in zip(folders, distinct(folders), strict=True)]


def read_run(folder: Path, name: str | None = None) -> Run:
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(f"no run folder at {folder}; make one with `tubelet pretrain RECIPE --on CORPUS --out {folder}`")
    if not (folder / "recipe.json").exists():
        raise RunError(
            f"{folder} is not a run folder: it holds no recipe.json; name a folder that `tubelet pretrain` wrote"
        )
    remarks: list[str] = []
    steps, evaluations = read_log(within(folder, "log.jsonl"), remarks)
    return Run(
        folder=folder,
        name=name or folder.resolve().name,
        recipe=read_object(within(folder, "recipe.json"), "restore it, or train again into a new folder"),
        steps=steps,
        evaluations=evaluations,
        results=read_results(within(folder, "results.json")),
        samples=load_samples(folder),
        thumbnails=load_thumbnails(folder),
        remarks=remarks,
    )


def read_object(path: Path, remedy: str) -> Record:
    """A JSON object; {} where there is no file."""
    if not path.exists():
        return {}
    return read_json(path, dict[str, Any], RunError, remedy)


def read_results(path: Path) -> Record:
    remedy = "delete it and run `tubelet evaluate` again"
    results = read_object(path, remedy)
    if wrong := [name for name, result in results.items() if not isinstance(result, dict)]:
        raise RunError(f"{path} is damaged (its entry {wrong[0]!r} is no object); {remedy}")
    return results


class Said(TypedDict):
    """What every record of a log says."""

    kind: str
    step: int
    metrics: NotRequired[dict[str, float | None]]


def read_log(path: Path, remarks: list[str]) -> tuple[list[Record], list[Record]]:
    """Steps and evaluations. Of a step that was logged twice (a resumed run), the last line holds.

    A last line cut short is what an interrupted run leaves: it is left out, with a remark.
    """
    remedy = "restore it, or train again into a new folder"
    found = read_json_lines(path, RunError, remedy)
    if found and path.stat().st_size > found[-1][1]:
        remarks.append("The last line of log.jsonl is cut short (an interrupted run); it is left out.")
    steps: dict[int, Record] = {}
    evaluations: dict[tuple[int, str], Record] = {}
    for place, (record, _) in enumerate(found, start=1):
        if fault := misfit(record, Said):
            raise RunError(f"{path} is damaged in line {place} ({fault}); {remedy}")
        if record["kind"] == "step":
            steps[record["step"]] = record
        elif record["kind"] == "evaluation":
            evaluations[record["step"], str(record.get("name"))] = record
    return [steps[step] for step in sorted(steps)], [evaluations[where] for where in sorted(evaluations)]


def distinct(folders: list[Path]) -> list[str]:
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
