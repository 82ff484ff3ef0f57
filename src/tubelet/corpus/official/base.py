"""What every official data set offers, and how its rows find their files. Start reading at `list_dataset`.

A data set is a frozen config whose `read` makes an `Item` of every line of its files. What it does not find it says in
one line with the names it looked for; a video that is not on disk keeps its row, with a status.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import chz

from tubelet.corpus.listing import Entry, Listing, walk
from tubelet.corpus.tables import Table
from tubelet.corpus.text import text_of
from tubelet.errors import CorpusError
from tubelet.wording import plural


@dataclass(frozen=True)
class Item:
    """One line of an official table: a file, or a segment of one."""

    file: str  # as the data set names it: the id of the row, and where it lies below the folder of videos
    split: str | None = None
    label: str | None = None
    group: str | None = None  # rows of one group were cut from one recording
    captions: tuple[str, ...] = ()
    name: str | None = None  # of a segment
    start: float | None = None  # seconds
    end: float | None = None


@chz.chz
class Dataset:
    """A frozen config that does the work itself: its fields are what the user may choose."""

    name: ClassVar[str] = ""
    source: ClassVar[str] = "caption"  # of its captions, where it has some

    def read(self, files: Sequence[Path]) -> list[Item]:
        """The rows of these annotation files, in their order."""
        raise NotImplementedError

    def pick(self, files: Sequence[Path], pattern: str, what: str) -> list[tuple[re.Match[str], Path]]:
        """The files whose whole name is this, with what matched; at least one."""
        found = [(match, path) for path in files if (match := re.fullmatch(pattern, path.name))]
        if not found:
            there = ", ".join(path.name for path in files[:4]) + (", ..." if len(files) > 4 else "")
            raise CorpusError(
                f"{self.name} needs {what}, and there is none among {there or 'no files at all'}; "
                "name the folder that holds the official annotation files"
            )
        return found

    def wrong(self, path: Path, line: object) -> CorpusError:
        return CorpusError(f"{path} is no official annotation file of {self.name}: it says {str(line)[:80]!r}")


def list_dataset(
    dataset: Dataset, annotations: Sequence[str | Path], videos: str | Path, leave_out: Path | None = None
) -> Listing:
    """Every row of the official files, with the place of its video and its captions.

    A file that both a training and a test line name is kept in the test split alone, and said.
    """
    folder = Path(videos).expanduser().absolute()
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {videos}; --videos names the one that holds the files of {dataset.name}")
    listing = Listing(official=dataset.name)
    items = alone(dataset.read(annotation_files(annotations)), listing.remarks)
    if not items:
        raise CorpusError(f"the annotation files of {dataset.name} name no videos")
    shelf = Shelf(folder, leave_out)
    doubts = shelf.doubts([item.file for item in items])
    for item in items:
        found = None if item.file in doubts else shelf.find(item.file)
        entry = Entry(
            video=item.file,
            path=found or folder / item.file,
            start=item.start,
            end=item.end,
            label=item.label,
            group=item.group,
            split=item.split,
            name=item.name,
            doubt=doubts.get(item.file, ""),
        )
        listing.entries.append(entry)
        if item.captions:
            texts = listing.captions.setdefault(entry.id, [])
            texts += [{"text": text, "source": dataset.source, "time": None} for text in item.captions]
    listing.remarks += shelf.remarks([item.file for item in items])
    return listing


def annotation_files(indices: Sequence[str | Path]) -> list[Path]:
    """The files named, and those in the folders named, to their end."""
    files: list[Path] = []
    for index in (Path(index).expanduser() for index in indices):
        if index.is_dir():
            files += sorted(path for path in index.rglob("*") if path.suffix.lower() in (".txt", ".csv", ".json"))
        elif index.is_file():
            files.append(index)
        else:
            raise CorpusError(f"there is no file or folder {index}; name the official annotation files")
    return files


def alone(items: Iterable[Item], remarks: list[str]) -> list[Item]:
    """Every file (or named segment) once. Where splits contradict, the test split keeps it, so that nothing leaks."""
    kept: dict[str, Item] = {}
    torn, twice = [], 0
    for item in items:
        key = item.name or item.file
        if (before := kept.get(key)) is None:
            kept[key] = item
            continue
        captions = tuple(dict.fromkeys((*before.captions, *item.captions)))
        if before.split == item.split:
            twice += 1
            kept[key] = replace(before, captions=captions)
        else:
            torn.append(key)
            order = [split for split in ("test", "val", "train") if split in (before.split, item.split)]
            kept[key] = replace(before if before.split == order[0] else item, captions=captions)
    if twice:
        remarks.append(f"{plural(twice, 'row')} named twice, kept once")
    if torn:
        remarks.append(
            f"leak: {plural(len(torn), 'file')} named in more than one split (first: {torn[0]}); "
            "kept in the one that is measured on"
        )
    return list(kept.values())


class Shelf:
    """The videos below a folder, found by path, file name or stem, whatever the folders between are called."""

    def __init__(self, folder: Path, leave_out: Path | None = None) -> None:
        self.folder = folder
        self.paths: dict[str, list[Path]] = {}
        for name, path in walk(folder, leave_out):
            plain = PurePosixPath(name)
            for key in dict.fromkeys((name, plain.with_suffix("").as_posix(), plain.name, plain.stem)):
                self.paths.setdefault(key, []).append(path)

    def find(self, file: str) -> Path | None:
        """The file that is meant; None where there is none, or where it could be several."""
        meant = self.meant(file)
        return meant[0] if len(meant) == 1 else None

    def meant(self, file: str) -> list[Path]:
        """All that could be meant; of files of one name those in the folders that the data set names, if any are."""
        found = next((self.paths[key] for key in keys_of(file) if key in self.paths), [])
        if len(found) > 1:
            found = [path for path in found if self.is_called(path, file)] or found
        if self.folder / file in found:
            return [self.folder / file]
        return list({path.resolve(): path for path in found}.values()) if len(found) > 1 else found

    def is_called(self, path: Path, file: str) -> bool:
        """Whether the path ends in all that the data set says, its ending aside where that is another."""
        index = PurePosixPath(self.below(path))
        ends = keys_of(file)[:2] if has_ending(file) else (file,)
        return any(f"/{name}".endswith(f"/{end}") for end in ends for name in (index, index.with_suffix("")))

    def below(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def doubts(self, files: Iterable[str]) -> dict[str, str]:
        """The names that could be several files, and those of which the only file is another's: each with both."""
        doubts: dict[str, str] = {}
        claims: dict[Path, list[str]] = {}
        for file in dict.fromkeys(files):
            meant = self.meant(file)
            if len(meant) > 1:
                doubts[file] = f"could be {self.below(meant[0])} or {self.below(meant[1])}"
            elif meant:
                claims.setdefault(meant[0], []).append(file)
        for path, claiming in claims.items():
            called = [file for file in claiming if self.folder / file == path] or [
                file for file in claiming if self.is_called(path, file)
            ]
            for file in claiming if len(claiming) > 1 else ():
                if called != [file]:
                    other = next(name for name in (*called, *claiming) if name != file)
                    doubts[file] = f"is not there, or is {self.below(path)}, which could be {other}"
        return doubts

    def remarks(self, files: Iterable[str]) -> list[str]:
        """What the user should know of where files were found."""
        files = dict.fromkeys(files)
        folders = [file for file in files if not self.meant(file) and (self.folder / file).is_dir()]
        lines = []
        if doubts := self.doubts(files):
            first = next(iter(doubts))
            lines.append(
                f"{plural(len(doubts), 'name')} left without a file, because no file is meant for sure (first: {first} "
                f"{doubts[first]}); keep one file of each name below {self.folder}, or the folders of the data set"
            )
        if folders:
            lines.append(
                f"{len(folders)} videos lie as folders of pictures (first: {folders[0]}); make files of them with "
                f"`ffmpeg -framerate RATE -i {folders[0]}/%05d.jpg {folders[0]}.mp4`"
            )
        return lines


def keys_of(file: str) -> tuple[str, ...]:
    """What a file may be called on disk, the surest first; a name without an ending keeps its dots."""
    plain = PurePosixPath(file)
    shorter = (plain.with_suffix("").as_posix(), plain.name, plain.stem) if has_ending(file) else (plain.name,)
    return tuple(dict.fromkeys((file, *shorter)))


def has_ending(file: str) -> bool:
    return PurePosixPath(file).suffix.lower() in (".avi", ".mp4", ".webm", ".mkv", ".mov")


def lines_of(path: Path) -> list[str]:
    """The lines that say something."""
    return [line.strip() for line in text_of(path)[0].splitlines() if line.strip()]


def json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise CorpusError(f"{path} is no JSON ({error}); download it again") from None


def rows_of(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a table with a header, by its own column names; commas, semicolons or tabs, quotes and all."""
    table = Table.read(path)
    header = table.header or table.rows[0].cells
    if missing := [column for column in columns if column not in header]:
        raise CorpusError(f"{path} has no column {' and '.join(missing)}; its columns are: {', '.join(header)[:120]}")
    rows = [row.cells for row in table.rows[not table.header :]]
    return [dict(zip_longest(header, cells[: len(header)], fillvalue="")) for cells in rows]


def has_columns(path: Path, *columns: str) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return set(columns) <= set(re.split(r"[,;\t]", file.readline().strip()))
