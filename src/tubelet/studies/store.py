"""The finished trials of a folder: a JSON file each, and, where they were collected, a table of many.

A running study adds small files, so that several processes and a kill do no harm; `collect` folds them into a table:

- `trials.jsonl`, a line a trial: what was trained, on which corpus, on which hardware, in how many seconds;
- `metrics.parquet`, a row a metric of every evaluation and of every baseline (whose name is in `baseline`);
- `curves.parquet`, a row a point of every loss.

A trial of either form counts as finished. Start reading at `FinishedTrials`.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from tubelet.checksums import (
    Damaged,
    Record,
    json_line,
    misfit,
    read_json,
    read_json_lines,
    read_parquet,
    write_json,
    write_parquet,
)  # fmt: skip
from tubelet.errors import RunError
from tubelet.files import write_atomically
from tubelet.studies.trials import Trial

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2
TRIALS, METRICS, CURVES = "trials.jsonl", "metrics.parquet", "curves.parquet"
OF_METRICS = (
    "trial", "entry", "protocol", "baseline", "metric", "value", "low", "high", "chance", "unit", "step",
)  # fmt: skip
OF_CURVES = ("trial", "term", "step", "value")
REMEDY = "restore it, or delete it to run the trial again"


Rows = list[tuple[Any, ...]]


class FinishedJson(TypedDict):
    """What the line of a trial says in a table."""

    format: Literal[2]
    hash: str
    variant: str
    seed: int
    values: dict[str, Any]
    results: dict[str, dict[str, Any]]


class Content(FinishedJson):
    """What the file of a finished trial says."""

    curves: dict[str, list[list[float]]]


class FinishedTrials:
    """By hash. Files that are no trials are left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, Record] = {}  # without metrics and curves
        self._metrics: dict[str, Rows] = {}
        self._curves: dict[str, Rows] = {}
        for record, metrics, curves in read_table(folder):
            trial = record["hash"]
            self.records[trial], self._metrics[trial], self._curves[trial] = record, metrics, curves
        for content in filter(None, map(read_file, sorted(folder.glob("*.json")))):
            self.keep(content)

    def keep(self, content: Mapping[str, Any]) -> None:
        trial = str(content["hash"])
        self._metrics[trial], self._curves[trial] = list(metric_rows(content)), list(curve_rows(content))
        self.records[trial] = record_of(content)

    @property
    def metrics(self) -> "pd.DataFrame":
        return frame(OF_METRICS, self._metrics)

    @property
    def curves(self) -> "pd.DataFrame":
        return frame(OF_CURVES, self._curves)

    def find(self, trial: Trial) -> Record | None:
        """What was recorded of the trial; None where it is not finished, or was, with other defaults than today's. Also
        sees what another process has finished since."""
        if trial.hash not in self.records and (content := read_file(self.path(trial))):
            self.keep(content)
        found = self.records.get(trial.hash)
        if found is None or changed_fields(trial, found):
            return None
        return found

    def path(self, trial: Trial) -> Path:
        return self.folder / f"{trial.name}.json"

    def add(self, trial: Trial, content: Mapping[str, Any]) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(trial)
        write_json(path, content)
        self.keep(content)
        return path

    def collect(self, out: Path) -> int:
        """Adds all to the table in that folder; gives back how many trials it then has. The lines of trials are written
        last: a row of a trial that has no line counts for nothing."""
        table = FinishedTrials(out)
        for trial, record in self.records.items():
            table.records[trial] = record
            table._metrics[trial], table._curves[trial] = self._metrics[trial], self._curves[trial]
        order = sorted(table.records, key=lambda trial: sort_key(table.records[trial]))
        for name, columns, rows in ((METRICS, OF_METRICS, table._metrics), (CURVES, OF_CURVES, table._curves)):
            write_frame(out / name, frame(columns, {trial: rows[trial] for trial in order}))
        write_atomically(out / TRIALS, b"".join(json_line(table.records[trial]) for trial in order))
        return len(order)


def changed_fields(trial: Trial, found: Mapping[str, Any]) -> list[str]:
    """Fields that were recorded with another value: a default that has changed since."""
    now = json.loads(json.dumps(trial.values, default=str))
    return [name for name, value in found["values"].items() if name in now and now[name] != value]


def sort_key(record: Mapping[str, Any]) -> tuple[str, str, str, int, str]:
    return (record["recipe"], record["study"], record["variant"], record["seed"], record["hash"])


def record_of(content: Mapping[str, Any]) -> Record:
    """A trial without what the other two tables hold."""
    results = {
        entry: {name: value for name, value in result.items() if name not in ("metrics", "baselines")}
        for entry, result in content["results"].items()
    }
    return {**{name: value for name, value in content.items() if name != "curves"}, "results": results}


def metric_rows(content: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for entry, result in content["results"].items():
        for baseline, one in {"": result, **(result.get("baselines") or {})}.items():
            for name, metric in one["metrics"].items():
                low, high = metric.get("interval") or (math.nan, math.nan)
                value, chance = (math.nan if (own := metric.get(key)) is None else own for key in ("value", "chance"))
                yield (
                    content["hash"], entry, result["evaluation"], baseline, name, value, low, high, chance,
                    metric["unit"], result.get("step"),
                )  # fmt: skip


def curve_rows(content: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for term, points in content["curves"].items():
        for step, value in points:
            yield content["hash"], term, int(step), value


def frame(columns: tuple[str, ...], rows: Mapping[str, Iterable[tuple[Any, ...]]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([row for some in rows.values() for row in some], columns=list(columns))


def write_frame(path: Path, content: "pd.DataFrame") -> None:
    import pyarrow as pa

    write_parquet(path, pa.Table.from_pandas(content, preserve_index=False).replace_schema_metadata(None))


def read_frame(path: Path, columns: tuple[str, ...]) -> "pd.DataFrame":
    remedy = f"restore it together with {TRIALS} beside it"
    try:
        found = read_parquet(path)
    except (OSError, Damaged) as error:
        raise RunError(f"{path} is damaged and cannot be read ({error}); {remedy}") from None
    if missing := [name for name in columns if name not in found.column_names]:
        raise RunError(f"{path} has no column {missing[0]}; {remedy}")
    return found.select(list(columns)).to_pandas()


def read_table(folder: Path) -> Iterator[tuple[Record, Rows, Rows]]:
    """The trials of a table, each with its rows; none where there is no table."""
    if not (folder / TRIALS).exists():
        return
    metrics, curves = rows_by_trial(folder / METRICS, OF_METRICS), rows_by_trial(folder / CURVES, OF_CURVES)
    for number, (record, _) in enumerate(read_json_lines(folder / TRIALS, RunError, "restore it"), 1):
        if fault := misfit(record, FinishedJson):
            raise RunError(f"{folder / TRIALS} is damaged in line {number} ({fault}); restore it")
        yield record, metrics.get(record["hash"], []), curves.get(record["hash"], [])


def rows_by_trial(path: Path, columns: tuple[str, ...]) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for row in read_frame(path, columns).itertuples(index=False, name=None):
        found.setdefault(row[0], []).append(row)
    return found


def read_file(path: Path) -> Record | None:
    """None where there is no file, or one that is no trial."""
    if not path.exists():
        return None
    try:
        said = json.loads(path.read_bytes())
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); {REMEDY}") from error
    if not isinstance(said, dict) or not said.keys() & {"hash", "values", "variant"}:
        return None
    return dict(read_json(path, Content, RunError, REMEDY))
