"""What tables say of the videos of a corpus: labels, groups, splits and captions."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from tubelet.data.names import Names, Use
from tubelet.data.rows import Named, named_rows, seconds
from tubelet.data.tables import Table
from tubelet.errors import CorpusError

FEW = 8  # labels of which nothing can be told
VALUES = ("label", "group", "split")

Values = dict[str, str]
Captions = dict[str, list[dict[str, Any]]]


def read_labels(path: Path, names: Names, remarks: list[str]) -> tuple[dict[str, Values], Use]:
    """id -> label, group and split, as far as the table gives them."""
    table = Table.read(path)
    rows = named_rows(table, second="label", known=names.known_in(path.parent))
    remarks += table.remarks
    if table.columns is not None and not set(VALUES) & set(table.columns):
        raise CorpusError(f"{path} has no column label, group or split; its columns are: {', '.join(table.header)}")
    use = Use(path)
    return values_of(rows, names, use), use


def values_of(rows: Iterable[Named], names: Names, use: Use, columns: Sequence[str] = VALUES) -> dict[str, Values]:
    """id -> what the rows say of it in these columns; two values of one thing are refused."""
    given: dict[str, Values] = {}
    lines: dict[tuple[str, str], int] = {}
    for row in rows:
        if (video := use.find(names, row["path"], row.line)) is None:
            continue
        values = {name: row[name] for name in columns if row[name]}
        for name, value in values.items():
            line = lines.setdefault((video, name), row.line)
            if (before := given.setdefault(video, {}).setdefault(name, value)) != value:
                raise CorpusError(
                    f"{use.table} gives {video} two values of {name}: {before!r} and {value!r} "
                    f"(lines {line} and {row.line}); keep one of them; nothing was written"
                )
        if values:
            use.used += 1
        else:
            use.leave(row.line, f"it says nothing of {row['path']}")
    return given


def numbers_hint(labels: Collection[str]) -> list[str]:
    """Labels that are nearly all different numbers are measurements, which no classifier learns."""
    numbers = {label for label in labels if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", label)}
    if len(labels) < FEW or len(numbers) <= len(labels) / 2:
        return []
    return [
        f"{len(numbers)} of {len(labels)} labels are different numbers: this looks like regression; "
        "tubelet's probes are classifiers"
    ]


def read_captions(path: Path, names: Names, remarks: list[str]) -> tuple[Captions, Use]:
    """id -> its captions, in the order of the table."""
    table = Table.read(path)
    rows = named_rows(table, ("path", "caption"), second="caption", known=names.known_in(path.parent))
    remarks += table.remarks
    use = Use(path)
    found: Captions = {}
    for row in rows:
        if (video := use.find(names, row["path"], row.line)) is None:
            continue
        if not row["caption"]:
            use.leave(row.line, f"the caption of {row['path']} is empty")
            continue
        time = seconds(row["time"], f"{path} line {row.line}", "time")
        caption = {"text": row["caption"], "source": row["source"] or "caption", "time": time}
        found.setdefault(video, []).append(caption)
        use.used += 1
    return found, use
