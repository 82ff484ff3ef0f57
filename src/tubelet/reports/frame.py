"""The results of many runs as one tidy table, of which reports are made."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tubelet.results import Result
from tubelet.run_record import RunRecord

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "run", "entry", "protocol", "corpus", "baseline", "metric", "value", "low", "high", "chance", "unit", "step", "seed"
)  # fmt: skip


def frame(records: Iterable[RunRecord]) -> "pd.DataFrame":
    """A row a metric of every entry of every run, and of every baseline (whose name is in `baseline`)."""
    import pandas as pd

    rows = [
        row
        for record in records
        for entry, result in record.results.items()
        for row in rows_of(record.name, entry, result, record.seed)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def rows_of(run: str, entry: str, result: Result, seed: int | None) -> list[tuple[Any, ...]]:
    return [
        (
            run, entry, result.evaluation, result.corpus.get("name", ""), baseline, name, metric.value,
            *(metric.interval or (math.nan, math.nan)), math.nan if metric.chance is None else metric.chance,
            metric.unit, result.step, seed,
        )
        for baseline, one in {"": result, **result.baselines}.items()
        for name, metric in one.metrics.items()
    ]  # fmt: skip
