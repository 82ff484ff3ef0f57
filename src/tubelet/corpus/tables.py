"""A table as people write it: what divides its cells, its header, its rows with the lines they stand in.

A cell that would be lost, or two marks that divide, are errors that name the line. Start reading at `Table.read`.
"""

import csv
import difflib
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tubelet.corpus.text import text_of
from tubelet.errors import CorpusError

EXTENSIONS = frozenset((
    ".264", ".265", ".3g2", ".3gp", ".3gpp", ".apng", ".asf", ".avc", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif",
    ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mjpg", ".mk3d",
    ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpg4", ".mpv", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".rm",
    ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".xvid", ".y4m",
))  # fmt: skip
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "video", "file", "filename", "file_name", "filepath", "file_path", "video_path", "video_name",
             "video_file", "video_id", "clip", "clip_path", "name", "id"),
    "label": ("label", "class", "category", "action", "class_name", "label_name"),
    "group": ("group", "group_id", "source_video"),
    "split": ("split", "subset", "set", "partition"),
    "start": ("start", "begin", "start_time", "time_start", "start_sec", "start_seconds", "start_timestamp"),
    "end": ("end", "stop", "end_time", "time_end", "end_sec", "end_seconds", "stop_timestamp"),
    "caption": ("caption", "text", "sentence", "description"),
    "source": ("source", "caption_source", "annotator"),
    "time": ("time", "timestamp", "seconds"),
}  # fmt: skip
UNITS = frozenset(("ms", "msec", "millis", "milliseconds", "us", "ns", "min", "mins", "minutes", "h", "hours"))
TIMES = frozenset(("start", "end", "time"))
DELIMITERS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}


@dataclass(frozen=True)
class Row:
    """The cells of a row, and the line of the file in which it begins."""

    line: int
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        """Cells up to the last that is not empty: spreadsheets append empty ones."""
        return max((position for position, cell in enumerate(self.cells, 1) if cell), default=0)


@dataclass(frozen=True)
class Table:
    """Rows of cells. `columns` says which cell holds what, None where there is no header."""

    path: Path
    rows: tuple[Row, ...]
    header: tuple[str, ...] = ()
    columns: Mapping[str, int] | None = None
    delimiter: str | None = None  # None: a line is one cell
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Table":
        text, remarks = text_of(path)
        delimiter, rows = divided(text, path)
        if not rows:
            raise CorpusError(f"{path} is empty; write a header that names the columns, and one row a line below it")
        columns, said = name_columns(rows[0].cells, path)
        if columns is None and delimiter is None and (words := header_by_spaces(rows[0].cells[0])):
            columns, delimiter = {name: position for position, name in enumerate(words)}, " "
            rows = [Row(row.line, tuple(row.cells[0].rsplit(None, len(words) - 1))) for row in rows]
        header = rows[0].cells if columns is not None else ()
        refuse_misfits(rows, header, delimiter, path)
        body = rows[1:] if columns is not None else rows
        if short := [row.line for row in body if len(row.cells) < len(rows[0].cells)]:
            said.append(
                f"{path.name}: {len(short)} of {len(body)} rows have fewer cells than the first line "
                f"(first: line {short[0]}); what they lack is taken as empty"
            )
        return cls(path, tuple(body), header, columns, delimiter, [*remarks, *said])


class Torn(Exception):
    """A quotation mark stands where none may: the line, and why."""


def divided(text: str, path: Path) -> tuple[str | None, list[Row]]:
    """What divides the cells of the whole file, and its rows: the mark that fits most lines, not the first alone."""
    lines = list(io.StringIO(text, newline=""))
    first = next((n for n, line in enumerate(lines) if line.strip() and not comment(line)), len(lines))
    declared = re.fullmatch(r"sep=(.)\s*", lines[first]) if first < len(lines) else None  # as Excel tells itself
    first += declared is not None
    plain = [Row(n, (unquoted(line),)) for n, line in enumerate(lines[first:], first + 1) if line.strip()]
    if not plain:
        return None, []
    marks = [declared[1]] if declared else [mark for mark in DELIMITERS if mark in plain[0].cells[0]]
    fitting: list[tuple[tuple[int, int], str, list[Row]]] = []
    torn: list[Torn] = []
    for mark in marks:
        try:
            rows = cells_of(lines, first, mark)
        except Torn as error:
            torn.append(error)
        else:
            fitting.append((misfits(rows, path), mark, rows))
    if torn and not fitting:
        line, why = torn[0].args
        raise CorpusError(f"{path} line {line}: {why}")
    best = sorted(fitting, key=lambda one: one[0])
    if not best or paths_alone(plain, best[0][2]):
        return None, plain
    if len(best) > 1 and best[0][0] == best[1][0] and best[0][1] != "\t":  # texts hold no tabs
        raise CorpusError(
            f"{path} could be divided by {DELIMITERS[best[0][1]]} or by {DELIMITERS[best[1][1]]}; "
            "write a header, or put the texts in double quotes"
        )
    return best[0][1], best[0][2]


def comment(line: str) -> bool:
    return line.startswith("#") and not any(mark in line.lower() for mark in EXTENSIONS)


def unquoted(line: str) -> str:
    """The whole line as one cell."""
    cell = line.strip()
    inner = cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else ""
    return inner.replace('""', '"').strip() if inner and '"' not in inner.replace('""', "") else cell


def cells_of(lines: Sequence[str], first: int, mark: str) -> list[Row]:
    """The rows from this line on, those of empty cells left out."""
    reader = csv.reader(lines[first:], delimiter=mark, skipinitialspace=mark != " ", strict=True)
    rows: list[Row] = []
    while True:
        begin = first + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return rows
        except csv.Error as error:
            closed = "expected after" in str(error)
            raise Torn(
                begin,
                "text follows a quotation mark that is closed; write marks inside a text twice, or is one not closed?"
                if closed
                else "a quotation mark is opened and never closed; close it",
            ) from None
        row = Row(begin, tuple(cell.strip() for cell in cells))
        if row.width:
            rows.append(row)


def from_parquet(path: Path) -> Table:
    """A Parquet file, for commands that take one beside tables of text."""
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    header = tuple(table.column_names)
    columns, remarks = name_columns(header, path)
    rows = [Row(number, tuple(map(as_cell, row.values()))) for number, row in enumerate(table.to_pylist(), 1)]
    return Table(path, tuple(rows), header, columns or {}, None, remarks)


def as_cell(value: Any) -> str:
    """A value as a table of text holds it; nothing where there is none."""
    if value is None or value != value:
        return ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def misfits(rows: Sequence[Row], path: Path) -> tuple[int, int]:
    """How many rows do not fit the first, and whether that is no header and begins with no video; less is better."""
    width = len(rows[0].cells)
    strange = sum(row.width > width or len(row.cells) == 1 < width for row in rows)
    known = name_columns(rows[0].cells, path)[0] is not None or looks_like_video(rows[0].cells[0])
    return strange, not known


def looks_like_video(name: str) -> bool:
    """By its ending alone."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def paths_alone(plain: Sequence[Row], rows: Sequence[Row]) -> bool:
    """Whether every line is a path and nothing else, and what seems to divide them belongs to their names."""
    return all(looks_like_video(row.cells[0]) for row in plain) and not all(
        looks_like_video(row.cells[0]) for row in rows
    )


def refuse_misfits(rows: Sequence[Row], header: Sequence[str], delimiter: str | None, path: Path) -> None:
    """Raises for rows of which a cell would be lost, or that something else divides."""
    width = len(rows[0].cells)
    by = DELIMITERS.get(delimiter or "", "spaces" if delimiter == " " else "")
    for row in rows:
        if any("\n" in cell and swallowed(cell, delimiter) for cell in row.cells):
            raise CorpusError(
                f"{path} line {row.line}: a quotation mark is opened here and takes in the lines below it; close it"
            )
        if row.width > width:
            named = f"the header names {width} ({', '.join(header)})" if header else f"the first line has {width}"
            raise CorpusError(
                f"{path} line {row.line} has {row.width} cells and {named}: {row.cells[width]!r} would be lost; "
                f"put a text that holds {by} in double quotes"
                + (f": {in_quotes(row, width, delimiter or ',')}" if row.width < 12 else "")
            )
        if len(row.cells) == 1 and (other := divides(row.cells[0], delimiter, width)):
            how = f"by {by}" if width > 1 else f"into one cell ({rows[0].cells[0]})"
            raise CorpusError(
                f"{path} line {row.line} is divided by {DELIMITERS[other]}, and the first line {how}; "
                "use the same mark in every line"
            )


def swallowed(cell: str, delimiter: str | None) -> bool:
    """Whether a later line within the cell begins as a row does."""
    return any(looks_like_video(line.split(delimiter or ",")[0].strip(' "')) for line in cell.splitlines()[1:])


def in_quotes(row: Row, width: int, delimiter: str) -> str:
    """The row as it would be right if what is too much belonged to the last column, or to the path before it."""
    cells = list(row.cells[: row.width])
    extra = row.width - width
    first = 0 if looks_like_video(cells[extra]) and not any(map(looks_like_video, cells[:extra])) else width - 1
    text = (delimiter if delimiter == "\t" else f"{delimiter} ").join(cells[first : first + extra + 1])
    return delimiter.join([*cells[:first], '"' + text.replace('"', '""') + '"', *cells[first + extra + 1 :]])


def divides(cell: str, delimiter: str | None, width: int) -> str | None:
    """Another mark that divides this only cell; of a table of one column where a video stands before it."""
    for mark in DELIMITERS:
        if mark != delimiter and mark in cell:
            before = cell.split(mark)[0].strip(' "')
            if width > 1 or (looks_like_video(before) and not looks_like_video(cell)):
                return mark
    return None


def header_by_spaces(line: str) -> list[str]:
    """The columns of a header like `path label`; none where a word names no column, or the path is not the first."""
    names = [next((name for name, some in COLUMNS.items() if word in some), "") for word in line.lower().split()]
    fits = len(names) > 1 and names[0] == "path" and "" not in names and len(set(names)) == len(names)
    return names if fits and "caption" not in names else []


def name_columns(cells: Sequence[str], path: Path) -> tuple[dict[str, int] | None, list[str]]:
    """Which column holds what, by name or by a name near it; None where the line is no header."""
    plain = [re.sub(r"[\s-]+", "_", cell.strip().lower()) for cell in cells]
    if any(looks_like_video(cell) for cell in plain):
        return None, []
    columns: dict[str, int] = {}
    for name, aliases in COLUMNS.items():
        if positions := [plain.index(alias) for alias in aliases if alias in plain]:
            columns[name] = positions[0]
    certain = bool(columns)
    remarks = []
    for position, cell in enumerate(plain):
        if position not in columns.values() and not in_other_unit(cell):
            free = {alias: name for name, aliases in COLUMNS.items() if name not in columns for alias in aliases}
            if near := difflib.get_close_matches(cell, free, n=1, cutoff=0.8):
                columns[free[near[0]]] = position
                remarks.append(f"{path.name}: column {cells[position].strip()!r} is read as {free[near[0]]}")
    if not certain and len(columns) < 2:
        return None, []
    if left := [cells[position].strip() for position in not_used(plain, columns)]:
        remarks.append(
            f"{path.name}: not used: column{'s' * (len(left) > 1)} {', '.join(map(repr, left))}; one column of a "
            "kind is read, and further captions of a video are further rows"
        )
    if twice := [cells[position] for position in columns.values() if plain.count(plain[position]) > 1]:
        raise CorpusError(f"{path} has two columns {twice[0]!r}; leave one of them out")
    return columns, remarks


def in_other_unit(cell: str) -> bool:
    """Whether this column of a header gives times in another unit than seconds, as `start_ms` does."""
    words = re.findall(r"[a-z]+", cell)
    return bool(words) and words[-1] in UNITS and bool(set(words[:-1]) & {a for name in TIMES for a in COLUMNS[name]})


def not_used(plain: Sequence[str], columns: Mapping[str, int]) -> list[int]:
    """Where columns stand that are called like one that is read, as `caption_2` is, and are not read themselves."""
    called = {alias for name, aliases in COLUMNS.items() if name != "path" for alias in aliases}
    return [
        position
        for position, cell in enumerate(plain)
        if position not in columns.values()
        and (cell in called or (set(words := re.findall(r"[a-z]+", cell)) & called and "frame" not in words))
    ]
