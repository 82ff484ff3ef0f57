"""What the user points at: folders, files and lists of videos, tables of labels and captions; and who is who.

Lists come as people write them: with a header or without, commas, tabs, semicolons or spaces, quotes, spaces in paths.
"""

import csv
import difflib
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tubelet.errors import CorpusError

EXTENSIONS = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".hevc", ".ivf", ".m2ts", ".m4v",
    ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts",
    ".vob", ".webm", ".wmv", ".y4m",
))  # fmt: skip
LISTS = frozenset((".csv", ".tsv", ".txt", ".list", ".lst"))

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


@dataclass(frozen=True)
class Entry:
    """One line of what is to be indexed: a file, or a span of it."""

    video: str  # id of the file: its path relative to the source
    path: Path
    start: float | None = None
    end: float | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    name: str | None = None  # of a segment that has one

    @property
    def id(self) -> str:
        return self.name or (self.video if self.start is None else segment_id(self.video, self.start))


@dataclass
class Listing:
    """Everything found, with the captions of each id, and remarks that the user should read."""

    entries: list[Entry] = field(default_factory=list)
    captions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def list_sources(
    sources: Sequence[str | Path], leave_out: Path | None = None, taken: Mapping[str, Path] | None = None
) -> Listing:
    """The videos of all sources, in the order of the sources, sorted within folders.

    An id is the path relative to its source. Where a later source has an id that an earlier one has for another file,
    all ids of the later source get its name in front. `taken` are ids that stand already.
    """
    listing = Listing()
    taken = dict(taken or {})
    seen: dict[tuple[Path, float | None, float | None], Entry] = {}
    for source in map(Path, sources):
        found = Listing()
        if source.is_dir():
            found.entries = [Entry(name, path) for name, path in walk(source, leave_out)]
        elif source.is_file() and source.suffix.lower() in LISTS:
            found = read_list(source)
        elif source.is_file():
            found.entries = [Entry(source.name, source.absolute())]
        else:
            raise CorpusError(f"there is no file or folder {source}; give folders, video files or lists of videos")
        if any(taken.get(entry.video, entry.path) != entry.path for entry in found.entries):
            prefix = free_prefix(source, found.entries, taken)
            found.entries = [replace(entry, video=f"{prefix}/{entry.video}") for entry in found.entries]
        if strange := [entry for entry in found.entries if not writable(entry)]:
            found.entries = [entry for entry in found.entries if writable(entry)]
            found.remarks.append(
                f"{source}: {plural(len(strange), 'file')} left out, named by bytes that are no UTF-8 "
                f"(first: {strange[0].path.name!a}); rename them to use them"
            )
        double = 0
        for entry in found.entries:
            earlier = seen.setdefault((entry.path, entry.start, entry.end), entry)
            if earlier is entry:
                listing.entries.append(entry)
                taken.setdefault(entry.video, entry.path)
            elif (entry.label or earlier.label) != earlier.label:
                raise CorpusError(
                    f"{source} gives {entry.id} the label {entry.label!r}, before it was {earlier.label!r}"
                )
            else:
                double += 1
        if double:
            found.remarks.append(f"{source}: {double} named twice, kept once")
        listing.remarks += found.remarks
    if not listing.entries:
        where = ", ".join(map(str, sources))
        raise CorpusError(f"no videos in {where}; folders are searched for {extensions()}")
    return listing


def writable(entry: Entry) -> bool:
    """Whether a table can hold its name: file systems allow bytes that are no text."""
    try:
        f"{entry.path}{entry.video}".encode()
    except UnicodeEncodeError:
        return False
    return True


def walk(folder: Path, leave_out: Path | None) -> list[tuple[str, Path]]:
    """(path relative to the folder, path) of every video below it, sorted; hidden files and folders are left out."""
    found = []
    visited = set()
    for here, folders, files in os.walk(folder.absolute(), followlinks=True):
        place = Path(here)
        real = place.resolve()
        if real in visited or (leave_out is not None and real == leave_out.resolve()):
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                path = place / name
                found.append((path.relative_to(folder.absolute()).as_posix(), path))
    return sorted(found)


def free_prefix(source: Path, entries: Iterable[Entry], taken: Mapping[str, Path]) -> str:
    """The shortest end of the source's path that makes its ids new."""
    parts = source.absolute().with_suffix("").parts if source.is_file() else source.absolute().parts
    entries = list(entries)
    for count in range(1, len(parts)):
        prefix = "/".join(parts[-count:])
        if all(taken.get(f"{prefix}/{entry.video}", entry.path) == entry.path for entry in entries):
            return prefix
    raise CorpusError(f"the ids of {source} cannot be told from those of another source; index them one by one")


def read_list(path: Path) -> Listing:
    """A list of videos, each with what else its line says."""
    table = Table.read(path)
    listing = Listing(remarks=table.remarks)
    rows: Iterable[Mapping[str, str]]
    if table.columns is not None:
        rows = table.named(required=("path",))
    else:
        rows = [plain_line(line, path.parent) for line in table.rows]
    located = [(row, locate(row["path"], path.parent)) for row in rows if row["path"]]
    outside = [place for row, place in located if Path(row["path"]).is_absolute()]
    common = Path(os.path.commonpath([place.parent for place in outside])) if outside else path.parent
    for row, place in located:
        start, end = (seconds(row.get(name, ""), path, name) for name in ("start", "end"))
        if start is not None and end is not None and not end > start:
            raise CorpusError(
                f"{path}: the segment of {row['path']} ends at {end:g} s, before it starts at {start:g} s"
            )
        listing.entries.append(
            Entry(
                video=list_id(row["path"], place, path.parent, common),
                path=place,
                start=start if start is not None or end is None else 0.0,
                end=end,
                label=row.get("label") or None,
                group=row.get("group") or None,
                split=row.get("split") or None,
            )
        )
    if not listing.entries:
        raise CorpusError(f"{path} names no videos; write one path a line, with a header or without")
    return listing


def list_id(name: str, place: Path, folder: Path, common: Path) -> str:
    """The path as the list gives it; an absolute one relative to the list's folder, else to what all have in common."""
    if not Path(name).is_absolute():
        return PurePosixPath(os.path.normpath(name)).as_posix()
    for base in (folder.absolute(), common):
        if place.is_relative_to(base):
            return place.relative_to(base).as_posix()
    return place.name


def locate(name: str, folder: Path) -> Path:
    """Relative paths count from the list's folder, or where that leads nowhere from the working folder."""
    path = Path(os.path.expanduser(name))  # a name that only looks like somebody's home stays as it is
    if path.is_absolute():
        return path
    beside = Path(os.path.normpath(folder.absolute() / path))
    here = Path(os.path.normpath(Path.cwd() / path))
    return here if here.exists() and not beside.exists() else beside


def plain_line(cells: Sequence[str], folder: Path) -> dict[str, str]:
    """A line without a header: path; path, label; path, start, end; path, start, end, label."""
    path, *others = (cell.strip() for cell in cells)
    match others:
        case []:
            return split_line(path, folder)
        case [label]:
            return {"path": path, "label": label}
        case [start, end] if number(start) and number(end):
            return {"path": path, "start": start, "end": end}
        case [start, end, label] if number(start) and number(end):
            return {"path": path, "start": start, "end": end, "label": label}
    raise CorpusError(
        f"a line of {len(cells)} columns needs a header (path, label, start, end, group, split): {cells[0]}"
    )


def split_line(line: str, folder: Path) -> dict[str, str]:
    """`path with spaces.mp4`, or `path with spaces.mp4 label` (also `path frames label`, as video lists often are)."""
    if locate(line, folder).is_file():
        return {"path": line}
    for pattern in (r"(.+?)\s+\d+\s+(\S+)", r"(.+)\s+(\S+)"):
        if (found := re.fullmatch(pattern, line)) and Path(found[1]).suffix.lower() in EXTENSIONS:
            return {"path": found[1], "label": found[2]}
    return {"path": line}


def number(cell: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?|(\d+:)?\d+:\d+(\.\d*)?", cell) is not None


@dataclass
class Table:
    """Rows of cells, and which column holds what; `columns` is None where there is no header."""

    path: Path
    rows: list[list[str]]
    columns: dict[str, int] | None
    header: list[str]
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Table":
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise CorpusError(f"there is no file {path}") from None
        except UnicodeDecodeError:
            text = path.read_text(encoding="latin-1")
        except OSError as error:
            raise CorpusError(f"{path} cannot be read: {error.strerror}") from None
        lines = [line for line in text.split("\n") if line.strip()]
        first = lines[0] if lines else ""
        try:
            delimiter = max("\t,;|", key=lambda mark: len(next(csv.reader([first], delimiter=mark))))
            if delimiter not in first:
                rows = [[line.strip().strip('"')] for line in lines]
            else:
                rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(map(str.strip, row))]
        except csv.Error as error:
            raise CorpusError(f"{path} is no table ({error}): look for a quotation mark that is never closed") from None
        columns, remarks = name_columns(rows[0], path) if rows else (None, [])
        header = rows[0] if columns is not None else []
        return cls(path, rows[1:] if columns is not None else rows, columns, header, remarks)

    def named(
        self, required: Sequence[str], order: Sequence[str] = (), names: "Names | None" = None
    ) -> list[dict[str, str]]:
        """The rows as dictionaries. Without a header, columns are taken in this order, if the first line is a video."""
        columns = self.columns
        if columns is None:
            columns = {name: place for place, name in enumerate(order)}
            width = max(map(len, self.rows), default=0)
            first = self.rows[0] if self.rows else []
            known = names is None or (bool(first) and names.find(first[0].strip(), self.path.parent) is not None)
            if self.rows and (not known or not len(required) <= width <= len(order)):
                raise CorpusError(
                    f"{self.path} needs a header with {' and '.join(required)}: its first line "
                    f"({', '.join(first)}) is none, and names no video of the sources; nothing was written"
                )
        if missing := [name for name in required if name not in columns]:
            choices = " and ".join(f"{name} (or {', '.join(COLUMNS[name][1:4])})" for name in missing)
            there = ", ".join(self.header) or "none"
            raise CorpusError(f"{self.path} has no column {choices}; its columns are: {there}")
        return [
            {name: row[place].strip() if place < len(row) else "" for name, place in columns.items()}
            for row in self.rows
        ]


def name_columns(cells: Sequence[str], path: Path) -> tuple[dict[str, int] | None, list[str]]:
    """Which column holds what, by name or by a name near it; None where the line is no header."""
    plain = [re.sub(r"[\s-]+", "_", cell.strip().lower()) for cell in cells]
    if any(Path(cell).suffix in EXTENSIONS for cell in plain):
        return None, []
    columns: dict[str, int] = {}
    for name, aliases in COLUMNS.items():
        if places := [plain.index(alias) for alias in aliases if alias in plain]:
            columns[name] = places[0]
    certain = bool(columns)
    remarks = []
    for place, cell in enumerate(plain):
        if place not in columns.values():
            free = {alias: name for name, aliases in COLUMNS.items() if name not in columns for alias in aliases}
            if near := difflib.get_close_matches(cell, free, n=1, cutoff=0.8):
                columns[free[near[0]]] = place
                remarks.append(f"{path.name}: column {cells[place].strip()!r} is read as {free[near[0]]}")
    return (columns, remarks) if certain or len(columns) > 1 else (None, [])


class Names:
    """Which videos a name in a table means: an id, a path, or a file name that only one video has."""

    def __init__(self, videos: Iterable[tuple[str, Path]]) -> None:
        self.ids: dict[str, str] = {}
        self.paths: dict[Path, str] = {}
        self.short: dict[str, set[str]] = {}
        for video, path in videos:
            self.ids[video] = video
            self.paths[path] = video
            plain = PurePosixPath(video)
            for short in {plain.name, plain.stem, plain.with_suffix("").as_posix()}:
                self.short.setdefault(short, set()).add(video)

    def find(self, name: str, folder: Path) -> str | None:
        """The id of the video; None where the name means none, or could mean several."""
        normal = PurePosixPath(os.path.normpath(name)).as_posix()
        if (found := self.ids.get(name) or self.ids.get(normal)) is not None:
            return found
        for base in (folder.absolute(), Path.cwd()):
            if (found := self.paths.get(Path(os.path.normpath(base / os.path.expanduser(name))))) is not None:
                return found
        for short in (normal, PurePosixPath(normal).name, PurePosixPath(normal).stem):
            if len(meant := self.short.get(short, set())) == 1:
                return next(iter(meant))
            if meant:
                return None
        return None

    def find_all(self, names: Iterable[str], table: Path) -> dict[str, str]:
        """name -> id for all of them, or one error that names the first few that are unknown."""
        found = {name: self.find(name, table.parent) for name in dict.fromkeys(names)}
        if unknown := [name for name, video in found.items() if video is None]:
            first = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
            several = [name for name in unknown if len(self.short.get(PurePosixPath(name).stem, ())) > 1]
            why = f"; {several[0]} could be several: write its path" if several else ""
            raise CorpusError(
                f"{table} names {plural(len(unknown), 'video')} not found among those of the sources ({first}){why}; "
                "correct the table, or index the folder that holds them; nothing was written"
            )
        return {name: video for name, video in found.items() if video is not None}


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


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def segment_id(video: str, start: float) -> str:
    return f"{video}#{start:.3f}".rstrip("0").rstrip(".")


def extensions() -> str:
    common = (".mp4", ".mov", ".avi", ".mkv", ".webm")
    return f"{', '.join(common)} and {len(EXTENSIONS) - len(common)} more"
