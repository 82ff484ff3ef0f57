"""The rows of a table by the names of their columns, whether a header says them or the form of the lines does.

Without a header a line is `path`, `path label`, or what the lists of VideoMAE V2 and of rawframes hold: `path frames
label`, `path first frames`, `path first frames label`. Start reading at `named_rows`.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tubelet.corpus.tables import COLUMNS, Row, Table, in_other_unit, looks_like_video
from tubelet.errors import CorpusError
from tubelet.wording import plural

SPLITS = {  # what splits are called, and their name here
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
}
COUNTS_FRAMES = frozenset((
    "total", "frames", "total_frames", "num_frames", "n_frames", "frame_count", "start_frame", "end_frame",
    "first_frame", "last_frame", "start_index", "begin_frame", "stop_frame",
))  # fmt: skip
NONE = "-1"  # the label of a video without one, in lists of this field
NONES = frozenset((NONE, "nan", "none", "null", "na", "n/a", "<na>", "#n/a"))  # and what other software writes

NUMBER = r"-?\d+(\.\d+)?"
LIST = rf"""\[\s*((['"]).*\2|{NUMBER}([\s,]+{NUMBER})*)\s*,?\s*\]"""  # as Python, numpy and JSON write one


class SaidCaption(TypedDict):
    """A caption as a table gives it."""

    text: str
    source: str
    time: float | None  # seconds; None: of the whole video


@dataclass(frozen=True)
class Named:
    """What a row says, by column, and the line in which it begins."""

    line: int
    values: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


def named_rows(
    table: Table,
    needs: Sequence[str] = ("path",),
    *,
    second: str | None = None,
    spans: bool = False,
    known: Callable[[str], bool] = looks_like_video,
) -> list[Named]:
    """Every row, whose columns must hold what is needed. Without a header the `second` column is what this says.

    `spans`: the table lists sources, and lines may say where a segment starts and ends. `known` tells names of videos.
    """
    if table.columns is not None:
        rows = by_header(table, needs, spans)
    elif table.delimiter is None and second == "label":
        rows = by_spaces(table, known, spans)
    else:
        rows = by_place(table, needs, second, spans, known)
    for row in rows:
        if torn := [name for name, value in row.values.items() if name != "caption" and re.search(r"[\r\n]", value)]:
            raise CorpusError(
                f"{table.path} line {row.line}: the {torn[0]} holds an end of line; is a quotation mark not closed?"
            )
        if some := [name for name in ("caption", "label") if re.fullmatch(LIST, row[name], re.DOTALL)]:
            raise CorpusError(
                f"{table.path} line {row.line}: the {some[0]} is a list ({row[some[0]][:60]}); write "
                "a row for each of them"
            )
    name_nones(table, rows)
    return [Named(row.line, {**row.values, "split": split_name(row["split"])}) if row["split"] else row for row in rows]


def by_header(table: Table, needs: Sequence[str], spans: bool) -> list[Named]:
    columns = table.columns
    assert columns is not None
    units = [cell for cell in table.header if in_other_unit(re.sub(r"[\s-]+", "_", cell.lower()))]
    if units and (spans or {"start", "caption"} & set(needs)):
        raise CorpusError(
            f"{table.path}: the column {units[0]!r} is not in seconds, and times are read in seconds; convert it, and "
            "call it start, end or time"
        )
    if missing := [name for name in needs if name not in columns]:
        choices = " and ".join(f"{name} (or {', '.join(COLUMNS[name][1:4])})" for name in missing)
        raise CorpusError(f"{table.path} has no column {choices}; its columns are: {', '.join(table.header)}")
    rows = [
        Named(row.line, {name: row.cells[index] if index < len(row.cells) else "" for name, index in columns.items()})
        for row in table.rows
    ]
    frames = [cell for cell in table.header if re.sub(r"[\s-]+", "_", cell.lower()) in COUNTS_FRAMES]
    if frames and spans and "start" in columns:
        for row in rows:
            refuse_middle(table.path, row.line, row["start"] or "0")
        table.remarks.append(whole_videos(table, f"{frames[0]} counts frames"))
        return [Named(row.line, {**row.values, "start": "", "end": ""}) for row in rows]
    if frames and spans:
        table.remarks.append(
            f"{table.path.name}: what {' and '.join(frames)} say is not used; start and end are written in seconds"
        )
    return rows


def by_place(
    table: Table, needs: Sequence[str], second: str | None, spans: bool, known: Callable[[str], bool]
) -> list[Named]:
    """Rows of cells without a header: path and the second; of sources also path, start, end and perhaps a label."""
    path, first = table.path, table.rows[0].cells
    named = looks_like_video(first[0]) or known(first[0])
    if table.delimiter is None and second is not None:
        raise CorpusError(
            f"{path} line {table.rows[0].line}: nothing divides path and {second} ({first[0][:100]}); "
            "write a comma or a tab between them, and texts that hold commas in double quotes"
        )
    if second is None or not named:
        raise CorpusError(
            f"{path} needs a header with {' and '.join(dict.fromkeys((*needs, second or needs[-1])))}: its first line "
            f"({', '.join(first)[:100]}) is none" + ("" if named else ", and names no video of the sources")
        )
    rows = []
    for row in table.rows:
        name, *others = row.cells[: max(row.width, 1)]
        if second == "label" and len(others) in (2, 3) and NONE in others[:2]:
            return by_counts(table, [(row.line, row.cells[0], [*row.cells[1:]]) for row in table.rows], spans)
        if spans and len(others) in (2, 3) and is_time(others[0], others[1]):
            values = dict(zip(("start", "end", "label"), others, strict=False))
        elif len(others) < 2:
            values = {second: others[0] if others else ""}
        else:
            like = "path, label, start, end, group, split" if spans else f"path, {second}, ..."
            raise CorpusError(
                f"{path} line {row.line} has {row.width} cells, and no header says what they are "
                f"({', '.join(row.cells)[:100]}); a table of more than two columns needs a header ({like}), "
                "and a text that holds what divides cells needs double quotes"
            )
        rows.append(Named(row.line, {"path": name, **values}))
    if any("start" in row.values for row in rows):
        table.remarks.append(f"{path.name}: lines are path, start, end in seconds, and perhaps a label")
    if second == "label" and all(row["label"].lower() in SPLITS for row in rows):
        raise CorpusError(
            f"{path} has no header, and its second column names splits ({rows[0]['label']}, ...); "
            "write the header path,split"
        )
    return rows


def by_spaces(table: Table, known: Callable[[str], bool], spans: bool) -> list[Named]:
    """Lines that spaces divide, of a path that may hold spaces too: it ends where the name of a video does."""
    found: list[tuple[int, str, list[str]]] = []
    for row in table.rows:
        name, others = path_and_rest(row, known)
        found.append((row.line, name, others))
    if not any(looks_like_video(name) or known(name) for _, name, _ in found):
        raise CorpusError(
            f"{table.path} names no videos: its first line ({table.rows[0].cells[0][:100]}) is no header "
            "and begins with no video; write one path a line, with a header or without"
        )
    return by_counts(table, found, spans)


def path_and_rest(row: Row, known: Callable[[str], bool]) -> tuple[str, list[str]]:
    line = row.cells[0]
    if quoted := re.fullmatch(r'"([^"]+)"\s+(.+)', line):
        return quoted[1], quoted[2].split()
    for count in range(5):
        name, *others = line.rsplit(None, count)
        if len(others) == count and (looks_like_video(name) or known(name)):
            return name, others
    return line, []


def by_counts(table: Table, lines: Sequence[tuple[int, str, list[str]]], spans: bool) -> list[Named]:
    """`path`, `path label`, `path frames label`, `path first frames`, `path first frames label`.

    Of two whole numbers behind a path the first is where frames begin if it is 0 or 1, or how many there are.
    """
    path = table.path
    pairs = [(line, others) for line, _, others in lines if len(others) == 2]
    begins = {line for line, (first, _) in pairs if first in ("0", "1")}
    if begins and len(begins) < len(pairs):
        line = next(line for line, _ in pairs if line not in begins)
        raise CorpusError(
            f"{path} line {line}: two numbers behind a path are `first frames` in some lines of this file and `frames "
            "label` in others, as it seems; write a header: path,label"
        )
    rows, forms = [], Counter[str]()
    for line, name, others in lines:
        numbers = [re.fullmatch(r"-?\d+", cell) is not None for cell in others]
        values = {"path": name}
        if len(others) == 1:
            values["label"] = others[0]
        elif len(others) == 2 and numbers[0] and line not in begins:
            values["label"] = others[1]
            forms[f"path frames label ({others[1]} is the label of {name})"] += 1
        elif (len(others) == 2 and all(numbers)) or (len(others) == 3 and all(numbers[:2])):
            refuse_middle(path, line, others[0])
            values |= {"label": others[2]} if len(others) == 3 else {}
            forms["path first frames" + " label" * (len(others) - 2)] += 1
        elif others:
            raise CorpusError(
                f"{path} line {line}: {' '.join(others)!r} stands behind {name}, and one label may; divide path and "
                "label by a tab or a comma, or several labels into rows of their own"
            )
        rows.append(Named(line, values))
    if not spans and forms["path first frames"] == len(rows):
        raise CorpusError(
            f"{path} says no label: its lines are `path first frames` ({' '.join(lines[0][2])} is where the frames of "
            f"{lines[0][1]} begin, and how many they are); give a table of path,label"
        )
    for form in forms:
        if form.startswith("path first"):
            table.remarks.append(whole_videos(table, f"lines are {form}"))
    if labels := next((form for form in forms if form.startswith("path frames")), None):
        table.remarks.append(f"{path.name}: lines are {labels}")
    return rows


def refuse_middle(path: Path, line: int, first: str) -> None:
    if first not in ("0", "1"):
        raise CorpusError(
            f"{path} line {line} begins at frame {first}: spans of frames are not read; write a header "
            "path,start,end,label with start and end in seconds"
        )


def whole_videos(table: Table, why: str) -> str:
    return f"{table.path.name}: {why}; whole videos are taken (of a part, write path,start,end in seconds)"


def name_nones(table: Table, rows: Sequence[Named]) -> None:
    """-1, nan and the like mean no value in many tables, and are a class in some."""
    for name in ("label", "group", "split", "caption"):
        values = [row[name] for row in rows if row[name]]
        without = Counter(value for value in values if value.lower() in NONES and (value != NONE or name == "label"))
        for value, count in without.items():
            if count == len(values) and name == "label":
                raise CorpusError(
                    f"{table.path}: every label is {value}, which means no label; leave the column out, or give the "
                    "class a name"
                )
            what = "a class like any other" if name == "label" else f"a {name} like any other"
            table.remarks.append(
                f"{table.path.name}: {plural(count, 'row')} with the {name} {value}, {what} here; "
                "where it means no label, leave the cell empty"
            )


def split_name(word: str) -> str:
    """Train, TRAINING and train are one split; a word that is none of the usual ones stays as it is."""
    return SPLITS.get(word.lower(), word)


def is_time(*cells: str) -> bool:
    return all(re.fullmatch(r"\d+(\.\d*)?|(\d+:)?\d+:\d+(\.\d*)?", cell) for cell in cells)


def seconds(cell: str, path: Path | str, name: str) -> float | None:
    """12.5, 10s, 1m, 500ms, 1:02:03.5; None for an empty cell."""
    cell = cell.strip().lower()
    if not cell:
        return None
    if found := re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|sec|m|min|h)?", cell):
        return float(found[1]) * {"ms": 0.001, "m": 60, "min": 60, "h": 3600}.get(found[2] or "s", 1.0)
    if re.fullmatch(r"(\d+:)?\d+:\d+(\.\d*)?", cell):
        total = 0.0
        for part in cell.split(":"):
            total = total * 60 + float(part)
        return total
    raise CorpusError(f"{path}: {name} {cell!r} is no time; write seconds (12.5, 10s) or 1:02:03")
