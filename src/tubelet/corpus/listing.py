"""The videos that the user points at: folders, files and lists. Start reading at `list_sources`."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tubelet.corpus.lerobot import INFO as LEROBOT
from tubelet.corpus.lerobot import episodes_of, is_lerobot
from tubelet.corpus.names import Use
from tubelet.corpus.parquet_videos import plain_name, rows_of, split_in_name
from tubelet.corpus.rows import Named, SaidCaption, named_rows, seconds
from tubelet.corpus.tables import EXTENSIONS, Table, looks_like_video
from tubelet.corpus.tars import samples_of
from tubelet.errors import CorpusError, RemoteError
from tubelet.remote.address import Address, absolute, is_remote
from tubelet.remote.ask import find
from tubelet.video.members import Member
from tubelet.video.sequences import is_sequence, looks_like_sequence
from tubelet.wording import and_more, plural

LISTS = frozenset((".csv", ".tsv", ".txt", ".list", ".lst"))
PARQUET = ".parquet"


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
    doubt: str = ""  # why no file is meant for sure

    @property
    def id(self) -> str:
        return self.name or (self.video if self.start is None else segment_id(self.video, self.start))


@dataclass
class Listing:
    """Everything found, with the captions of each id, what became of every list, and remarks for the user to read."""

    entries: list[Entry] = field(default_factory=list)
    captions: dict[str, list[SaidCaption]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    tables: list[Use] = field(default_factory=list)
    official: str = ""  # the data set of which the entries are


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
        if (address := Address.of(source)) is not None:
            found = read_address(address)
        elif source.is_dir() and is_lerobot(source):
            found = read_lerobot(source.absolute())
        elif source.is_dir():
            others = Counter[str]()
            found.entries = [
                Entry(source.name if name == "." else name, path) for name, path in walk(source, leave_out, others)
            ]
            if found.entries and others:
                found.remarks.append(f"{source}: {not_taken(others)}")
        elif source.is_file() and source.suffix.lower() in LISTS:
            found = read_list(source)
        elif source.is_file() and source.suffix.lower() == ".tar":
            found = read_tar(source)
        elif source.is_file() and source.suffix.lower() == PARQUET:
            found = read_parquet_videos([source])
        elif source.is_file():
            found.entries = [Entry(source.name, source.absolute())]
        elif is_sequence(source):
            found.entries = [Entry(f"{source.parent.absolute().name}/{source.name}", source.absolute())]
        else:
            raise CorpusError(f"there is no file or folder {source}; give folders, video files or lists of videos")
        if not found.entries and source.is_dir():
            found = read_parquet_videos(sorted(source.rglob(f"*{PARQUET}")))
        if any(taken.get(entry.video, entry.path) != entry.path for entry in found.entries):
            prefix = free_prefix(source, found.entries, taken)
            found.entries = [prefixed(entry, prefix) for entry in found.entries]
            found.captions = {f"{prefix}/{video}": said for video, said in found.captions.items()}
        if strange := [entry for entry in found.entries if not writable(entry)]:
            found.entries = [entry for entry in found.entries if writable(entry)]
            found.remarks.append(
                f"{source}: {plural(len(strange), 'file')} left out, named by bytes that are no UTF-8 "
                f"(first: {strange[0].path.name!a}); rename them to use them"
            )
        double = 0
        for entry in found.entries:
            span = (entry.path, entry.start, entry.end)
            if (earlier := seen.get(span)) is None:
                taken.setdefault(entry.video, entry.path)
                seen[span] = entry
            else:
                seen[span] = agreed(earlier, entry, source)
                double += 1
        if double:
            found.remarks.append(f"{source}: {double} named twice, kept once")
        listing.captions |= found.captions
        listing.remarks += found.remarks
        listing.tables += found.tables
    listing.entries = told_apart(seen.values())
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


def not_taken(others: Counter[str]) -> str:
    """What of a folder is not looked at."""
    endings = and_more([f"{count} {ending}" for ending, count in others.most_common()], 5)
    return f"{plural(others.total(), 'file')} not taken for videos, by their endings ({endings})"


def walk(folder: Path, leave_out: Path | None, others: Counter[str] | None = None) -> list[tuple[str, Path]]:
    """(path relative to the folder, path) of every video below it, sorted; hidden files and folders are left out.

    A folder without videos whose pictures are numbered and named alike is one, as an image sequence. `others` counts
    the files that are neither, by ending.
    """
    found = []
    visited = set()
    for here, folders, files in os.walk(folder.absolute(), followlinks=True):
        index = Path(here)
        real = index.resolve()
        if real in visited or (leave_out is not None and real == leave_out.resolve()):
            folders.clear()
            continue
        visited.add(real)
        videos = any(Path(name).suffix.lower() in EXTENSIONS for name in files)
        if is_one := not videos and looks_like_sequence(files):
            found.append((index.relative_to(folder.absolute()).as_posix(), index))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = index / name
            if not name.startswith(".") and path.suffix.lower() in EXTENSIONS:
                found.append((path.relative_to(folder.absolute()).as_posix(), path))
            elif others is not None and not name.startswith(".") and not is_one:
                others[path.suffix.lower() or "without ending"] += 1
    return sorted(found)


def free_prefix(source: Path, entries: Iterable[Entry], taken: Mapping[str, Path]) -> str:
    """The shortest end of the source's path that makes its ids new."""
    whole = absolute(source)
    parts = whole.with_suffix("").parts if source.is_file() else whole.parts
    entries = list(entries)
    for count in range(1, len(parts)):
        prefix = "/".join(parts[-count:])
        if all(taken.get(f"{prefix}/{entry.video}", entry.path) == entry.path for entry in entries):
            return prefix
    raise CorpusError(f"the ids of {source} clash with those of another source; index them one by one")


def agreed(earlier: Entry, later: Entry, where: str | Path) -> Entry:
    """One entry of two for the same span, with what either says of it; two values of one thing are refused."""
    values: dict[str, Any] = {}
    for name in ("label", "group", "split"):
        before, now = getattr(earlier, name), getattr(later, name)
        if before and now and before != now:
            raise CorpusError(
                f"{where} gives {later.id} the {name} {now!r}, before it was {before!r}; keep one of them"
            )
        values[name] = before or now
    return replace(earlier, **values)


def prefixed(entry: Entry, prefix: str) -> Entry:
    return replace(entry, video=f"{prefix}/{entry.video}", name=entry.name and f"{prefix}/{entry.name}")


def read_lerobot(root: Path) -> Listing:
    """The episodes of a LeRobot data set."""
    listing = Listing()
    for fields, captions in episodes_of(root):
        entry = Entry(**fields)
        listing.entries.append(entry)
        if captions:
            listing.captions[entry.id] = captions
    return listing


def read_parquet_videos(paths: Sequence[Path]) -> Listing:
    """The videos of Parquet files."""
    listing = Listing()
    taken: set[str] = set()
    for path in paths:
        split = split_in_name(path)
        for row in rows_of(path, one_of_many=len(paths) > 1):
            name = f"{path.stem}/{plain_name(row)}"
            name = f"{path.stem}/{row.number:06d}" if name in taken else name
            taken.add(name)
            if row.offset is None:
                place = locate(row.name, absolute(path).parent)
            else:
                place = Member(absolute(path), row.offset, row.size).path
            listing.entries.append(Entry(name, place, label=row.label, split=split))
            if row.captions:
                listing.captions[name] = [SaidCaption(text=t, source="caption", time=None) for t in row.captions]
    return listing


def read_address(address: Address) -> Listing:
    """The videos of a store: one, those of a tar file, or all below a name."""
    path = address.path
    if path.suffix.lower() == ".tar":
        return read_tar(path)
    if path.suffix.lower() == PARQUET:
        return read_parquet_videos([path])
    if looks_like_video(path.name.partition("?")[0]):
        return Listing([Entry(path.name, path)])
    if path.suffix.lower() in LISTS:
        raise CorpusError(f"{address.url} is a list; fetch it and name the file, whose lines may be URLs")
    listing, names = Listing(), find(address)
    if LEROBOT in names:
        return read_lerobot(path)
    for name in names:
        parts = PurePosixPath(name).parts
        if looks_like_video(name) and not any(part.startswith(".") for part in parts):
            try:
                below = Address.of(f"{address.url}/{name}")
            except RemoteError:
                listing.remarks.append(f"{address.url}: {name!a} is no name that a path can have; left out")
            else:
                assert below is not None
                listing.entries.append(Entry(name, below.path))
    return listing if listing.entries else read_parquet_videos([path / n for n in names if n.endswith(PARQUET)])


def read_tar(path: Path) -> Listing:
    """The videos of a tar file with WebDataset names."""
    listing = Listing()
    for name, place, label, captions in samples_of(path):
        entry = Entry(f"{path.stem}/{name}", place, label=label)
        listing.entries.append(entry)
        if captions:
            listing.captions[entry.video] = captions
    if not listing.entries:
        raise CorpusError(f"{path} holds no videos; give tar files whose samples are videos, as WebDataset names them")
    return listing


def read_list(path: Path) -> Listing:
    """A list of videos, each with what else its line says."""
    table = Table.read(path)
    use = Use(path)
    rows = [
        row
        for row in named_rows(table, second="label", spans=True, known=exists_next_to(path))
        if usable(row, table, use)
    ]
    located = [(row, locate(row["path"], path.parent)) for row in rows]
    outside = [index.parent for row, index in located if is_whole(row["path"])]
    commons = common_folders(outside) or [path.parent]
    entries: dict[tuple[Path, float | None, float | None], tuple[Entry, int]] = {}
    for row, index in located:
        entry = entry_of(row, index, path, commons)
        earlier, line = entries.get((index, entry.start, entry.end), (entry, row.line))
        both = agreed(earlier, entry, f"{path} line {row.line} (after line {line})")
        entries[index, entry.start, entry.end] = both, line
        use.used += 1
    if not entries:
        why = f" ({use.reasons()})" if use.unused else ""
        raise CorpusError(f"{path} names no videos{why}; write one path a line, with a header or without")
    repeated = use.used - len(entries)
    again = [f"{path.name}: {repeated} named twice, kept once"] if repeated else []
    return Listing([entry for entry, _ in entries.values()], remarks=table.remarks + again, tables=[use])


def list_remarks(sources: Sequence[str | Path]) -> list[str]:
    """What became of the rows of each list among the sources, and what the user should know of how it was read."""
    lists = [read_list(path) for path in map(Path, sources) if path.is_file() and path.suffix.lower() in LISTS]
    return [line for found in lists for line in (*found.remarks, *(use.summary() for use in found.tables))]


def exists_next_to(path: Path) -> Callable[[str], bool]:
    """Whether a name in this list is that of a file or folder, wherever names of the list count from."""
    return lambda name: there(locate(name, path.parent))


def there(path: Path) -> bool:
    """Whether a file or folder is there, or the folder of a pattern. One in a store is asked for later."""
    return is_remote(path) or path.exists() or (is_sequence(path) and path.parent.is_dir())


def usable(row: Named, table: Table, use: Use) -> bool:
    """Whether a row of a list names a video: without a header a line may be anything."""
    name = row["path"]
    if not name:
        use.leave(row.line, "it names no video")
    elif table.columns is None and not looks_like_video(name) and not exists_next_to(table.path)(name):
        use.leave(row.line, f"{name[:100]} is no file, and has no ending of a video")
    else:
        return True
    return False


def entry_of(row: Named, index: Path, path: Path, commons: Sequence[Path]) -> Entry:
    start, end = (seconds(row[name], f"{path} line {row.line}", name) for name in ("start", "end"))
    if start is not None and end is not None and not end > start:
        raise CorpusError(
            f"{path} line {row.line}: the segment of {row['path']} ends at {end:g} s, before it starts at {start:g} s; "
            "start and end are seconds"
        )
    return Entry(
        video=list_id(row["path"], index, path.parent, commons),
        path=index,
        start=start if start is not None or end is None else 0.0,
        end=end,
        label=row["label"] or None,
        group=row["group"] or None,
        split=row["split"] or None,
    )


def told_apart(entries: Iterable[Entry]) -> list[Entry]:
    """Each with an id of its own: of segments that begin together, all but the first have their end in it too."""
    made: dict[str, Entry] = {}
    for entry in entries:
        mine = entry
        if entry.id in made and entry.start is not None and entry.end is not None:
            mine = replace(entry, name=segment_id(entry.video, entry.start, entry.end))
        if mine.id in made:
            raise CorpusError(
                f"two segments have the id {mine.id}: {entry.path} is cut twice from {entry.start or 0:g} s; "
                "leave one of them out"
            )
        made[mine.id] = mine
    return list(made.values())


def list_id(name: str, index: Path, folder: Path, commons: Sequence[Path]) -> str:
    """The path as the list gives it; an absolute one relative to the list's folder, else to what all have in common."""
    if not is_whole(name):
        return PurePosixPath(os.path.normpath(name)).as_posix()
    for base in (folder.absolute(), *commons):
        if index.is_relative_to(base):
            return index.relative_to(base).as_posix()
    return index.name


def locate(name: str, folder: Path) -> Path:
    """Relative paths count from the list's folder, or where that leads nowhere from the working folder."""
    if (address := Address.of(name)) is not None:
        return address.path
    path = Path(os.path.expanduser(name))  # a name that only looks like somebody's home stays as it is
    if path.is_absolute():
        return path
    beside = Path(os.path.normpath(folder.absolute() / path))
    here = Path(os.path.normpath(Path.cwd() / path))
    return here if there(here) and not there(beside) else beside


def is_whole(name: str) -> bool:
    """Whether a name is a path from the root, or a URL."""
    return is_remote(name) or Path(name).is_absolute()


def common_folders(folders: Iterable[Path]) -> list[Path]:
    """The folder above all of this machine, and of each store."""
    by_place: dict[tuple[str, ...], list[Path]] = {}
    for folder in folders:
        by_place.setdefault(folder.parts[:2] if is_remote(folder) else (), []).append(folder)
    return [Path(os.path.commonpath(some)) for some in by_place.values()]


def segment_id(video: str, start: float, end: float | None = None) -> str:
    edges = [f"{edge:.3f}".rstrip("0").rstrip(".") for edge in (start, end) if edge is not None]
    return f"{video}#{'-'.join(edges)}"


def extensions() -> str:
    common = (".mp4", ".mov", ".avi", ".mkv", ".webm")
    return f"{', '.join(common)} and {len(EXTENSIONS) - len(common)} more"
