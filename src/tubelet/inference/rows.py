"""One row a video (or segment, or window) of any sources, whatever its state: what the tables of features and of
labels share. Start reading at `Sources.videos`."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from tubelet.corpus.listing import Entry, list_sources, segment_id
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.evaluations.trained_on import video_of
from tubelet.remote.address import Address, as_text
from tubelet.remote.address import absolute as remote_or_absolute
from tubelet.remote.ask import exists
from tubelet.video.content import state_or_none


@dataclass(frozen=True)
class VideoRow:
    """What a table says of a video, apart from what was measured: which it is, or why there is nothing."""

    id: str
    path: str  # absolute
    start: float  # seconds; where a segment or window begins in its file
    end: float | None  # None: the end of the file
    status: str = "ok"
    reason: str = ""
    size: int | None = None  # of the file, bytes; None where it is not there
    modified: int | None = None  # when the file was changed, nanoseconds
    reading: str | None = None  # how its frames are read, where a corpus says so

    @property
    def index(self) -> tuple[Any, ...]:
        """The same for the same part of the same, unchanged file, whatever it is called here."""
        said = () if self.reading is None else (self.reading,)
        return self.path, self.start, self.end, self.size, self.modified, *said

    @property
    def key(self) -> str:
        return hashlib.blake2b(repr(self.index).encode(), digest_size=16).hexdigest()


Source = str | Path | Corpus
"""A video, a folder or a list of videos, or a corpus."""


def paths_of(sources: Source | Sequence[Source]) -> list[str | Path]:
    """One source or several, as paths."""
    some = [sources] if isinstance(sources, str | Path | Corpus) else sources
    return [source.folder if isinstance(source, Corpus) else Path(source).expanduser() for source in some]


def none(videos: Sequence[Video]) -> Collection[str]:
    return ()


@dataclass(frozen=True)
class Sources:
    """What is to be measured: corpora, and the videos that files, folders and lists mean."""

    corpora_and_files: tuple[tuple[Corpus, tuple[Video, ...]] | tuple[None, tuple[Entry, ...]], ...]

    @classmethod
    def of(
        cls,
        sources: Sequence[str | Path],
        split: str | None = None,
        without: Callable[[list[Video]], Collection[str]] = none,
    ) -> "Sources":
        """Only those of a split, where that is asked for, and none of the videos whose ids `without` gives."""
        parts: list[Any] = []
        for source in map(Path, sources):
            if is_corpus(source):
                corpus = Corpus.open(source)
                chosen = corpus.kept(split or "all")
                if not chosen:
                    there = ", ".join(sorted({video.split for video in corpus.kept()}))
                    raise CorpusError(f"{source} has no video in split {split!r}; it has: {there}")
                left_out = without(chosen)
                parts.append((corpus, tuple(video for video in chosen if video.id not in left_out)))
            else:
                entries = tuple(list_sources([source]).entries)
                if split not in (None, "all"):
                    entries = of_split(entries, split, source)
                left_out = without([video_of(e.id, e.path, e.start or 0.0, e.end) for e in entries])
                parts.append((None, tuple(entry for entry in entries if entry.id not in left_out)))
        return cls(tuple(parts))

    def videos(self) -> list[tuple[VideoRow, Video | None]]:
        """The rows in the order of the sources, each with what a corpus knows of it; each file in the order of its
        table or name. No id names two files."""
        found: list[tuple[VideoRow, Video | None]] = []
        for _, items in self.corpora_and_files:
            for item in items:
                if isinstance(item, Video):
                    end = item.end if item.end > item.start else None
                    row = VideoRow(
                        item.id, absolute(item.path), item.start, end, item.status, item.reason, reading=item.reading
                    )
                    found.append((as_it_is_now(row), item))
                else:
                    row = VideoRow(item.id, absolute(item.path), item.start or 0.0, item.end)
                    found.append((as_it_is_now(row), None))
        names = distinct_ids([row for row, _ in found])
        return [(replace(row, id=name), video) for (row, video), name in zip(found, names, strict=True)]


def of_split(entries: Sequence[Entry], split: str, source: Path) -> tuple[Entry, ...]:
    """Those that a list gives this split. Where one has none it is refused: nothing says whether it is meant."""
    if any(entry.split is None for entry in entries):
        first = next(entry.id for entry in entries if entry.split is None)
        raise CorpusError(
            f"{source} says no split of {first}, and --split {split} is of corpora and of lists with a column split; "
            "index it, or leave --split away"
        )
    if not (found := tuple(entry for entry in entries if entry.split == split)):
        there = ", ".join(sorted({str(entry.split) for entry in entries}))
        raise CorpusError(f"{source} has no video in split {split!r}; it has: {there}")
    return found


def is_corpus(source: Path) -> bool:
    address = Address.of(source)
    return (source / "corpus.json").exists() if address is None else exists(address / "corpus.json")


def absolute(path: Path) -> str:
    return as_text(remote_or_absolute(path))


def as_it_is_now(row: VideoRow) -> VideoRow:
    size, modified = state_or_none(Path(row.path)) or (None, None)
    return replace(row, size=size, modified=modified)


def distinct_ids(rows: Sequence[VideoRow]) -> list[str]:
    """An id for each row: its own, or where several files have that one, the shortest end of each one's path that
    tells them apart."""
    files: dict[str, set[str]] = {}
    for row in rows:
        files.setdefault(file_part(row), set()).add(row.path)
    taken = set(files)
    new: dict[tuple[str, str], str] = {}
    for name, paths in files.items():
        if len(paths) > 1:
            new |= {(name, path): end for path, end in shortest_ends(paths, taken - {name}).items()}
            taken |= set(new.values())
    made = []
    for row in rows:
        name = file_part(row)
        made.append(new.get((name, row.path), name) + row.id.removeprefix(name))
    return made


def file_part(row: VideoRow) -> str:
    """The id without the mark of a segment."""
    return row.id.removesuffix(segment_id("", row.start))


def shortest_ends(paths: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """The last folders and the name of each path, as many as make all of them different, and none of them taken."""
    parts = {path: PurePath(path).parts for path in paths}
    for count in range(1, max(map(len, parts.values()))):
        ends = {path: "/".join(some[-count:]) for path, some in parts.items()}
        if len(set(ends.values())) == len(ends) and not set(ends.values()) & set(taken):
            return ends
    return {path: path for path in parts}
