"""Looks at every row of a corpus again: which files hold what they held, and which changed, moved or are gone.

A row is of what its file held. Where the file is elsewhere now, the row follows it and keeps id, label, split and
captions; where another file took its place, that is looked into again, and said. A label never passes to another file
silently. Start reading at `recheck`.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tubelet.corpus.content import content_columns
from tubelet.corpus.listing import Entry, walk
from tubelet.corpus.schema import DEFAULTS, Video, file_id
from tubelet.jobs.pool import Failure, cores, run_each
from tubelet.jobs.runner import Running
from tubelet.progress import Progress
from tubelet.video.content import state_of, state_or_none

CHANGED = "changed"  # the status of a row between finding that its file changed and looking into it
MISSING = "missing"
NAMED = 5  # rows that a remark names
COMPARED = ("frames", "width", "height", "codec", "status")  # what a remark says of a changed row

Columns = Mapping[str, Any]  # content, size and modified


@dataclass(frozen=True)
class Rechecked:
    """The rows as they are known now, and what became of them."""

    videos: list[Video]
    look: list[Entry] = field(default_factory=list)  # what is to be looked into again
    moved: frozenset[str] = frozenset()  # ids
    missing: frozenset[str] = frozenset()

    def summary(self, before: Sequence[Video], rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
        """The line that counts, and a remark for each thing that befell rows; `rows` are those of the new table."""
        now = {row["id"]: {**DEFAULTS, **row} for row in rows}
        before = [video for video in before if video.id in now]  # one that could not be read may be segments by now
        changed = {video.id: text for video in before if (text := difference(video, now[video.id]))}
        found = {video.id for video in before if video.status == MISSING and now[video.id]["status"] == "ok"}
        gone = [video.id for video in before if now[video.id]["status"] == MISSING]
        there = set(changed) | self.moved | set(gone)
        counts = {
            "unchanged": len(before) - len(there),
            "changed": len(set(changed) - set(gone)),
            "moved": len(self.moved - set(changed)),
            "missing": len(gone),
            "new": len(rows) - len(before),
        }
        paths = {video.id: video.path for video in self.videos}
        remarks = [
            remark_on("changed", [f"{name}: {text}" for name, text in changed.items() if name not in gone]),
            remark_on("moved", [f"{name} -> {paths[name]}" for name in paths if name in self.moved]),
            remark_on("missing", gone),
            remark_on("found again", sorted(found - set(changed))),
        ]
        return ", ".join(f"{count} {name}" for name, count in counts.items()), [line for line in remarks if line]


def remark_on(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f"; and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{what}: {'; '.join(names[:NAMED])}{more}"


def difference(video: Video, row: Mapping[str, Any]) -> str:
    """How the row differs from what the table said of the file; empty where it is the same."""
    parts = [f"{name} {getattr(video, name)} -> {row[name]}" for name in COMPARED if getattr(video, name) != row[name]]
    if MISSING in (video.status, row["status"]) and (not video.content or video.content == row.get("content")):
        return ""  # gone, or found again
    if parts:
        return ", ".join(parts)
    return "" if video.content in (None, row.get("content")) else "other content of the same length and size"


def recheck(
    known: Sequence[Video],
    folders: Iterable[Path],
    *,
    root: Path | None,
    verify: bool,
    leave_out: Path,
    running: Running,
    progress: Progress,
) -> Rechecked:
    """Compares every row's file with what the table says of it.

    Size and time of change decide, and the digest where they differ (with `verify`, always). A file that is not where
    it was is looked for in these folders, by its content; with `root`, each is first looked for at the same place
    below it.
    """
    digests = Digests(running, progress)
    files: dict[Path, list[Video]] = {}
    for video in known:
        files.setdefault(video.path, []).append(video)
    indices = below_root(list(files), root) if root is not None else {}
    states = {path: state_or_none(indices.get(path, path)) for path in files}
    recorded = {path: content for path, rows in files.items() if (content := rows[0].content)}
    digests.read(
        indices.get(path, path)
        for path, rows in files.items()
        if states[path] and path in recorded and (verify or states[path] != (rows[0].size, rows[0].modified))
    )
    now: dict[Path, str | None] = {}
    for path in files:
        index = indices.get(path, path)
        now[path] = None if states[path] is None else digests.of(index, unread=recorded.get(path))
    displaced = [path for path in files if path in recorded and now[path] != recorded[path]]
    found = search_moved(displaced, recorded, now, indices, files, candidates(folders, root, leave_out), digests)

    videos, look, moved, missing = [], [], set(), set()
    taken = set(found.values())
    for video in known:
        path = found.get(video.path) or indices.get(video.path, video.path)
        gone = not state_or_none(path) or (video.path not in found and path in taken)
        if gone:
            where = "its file is no longer there" if video.content else "no such file"
            videos.append(replace(video, status=MISSING, reason=where))
            missing.add(video.id)
            continue
        if path != video.path and (
            video.path in found or video.path not in recorded or now[video.path] == video.content
        ):
            moved.add(video.id)
        same = video.content is not None and (video.path in found or now[video.path] == video.content)
        if same and video.status == "ok":
            size, modified = state_of(path)
            videos.append(replace(video, path=path, size=size, modified=modified))
        else:
            videos.append(replace(video, path=path, status=CHANGED if video.status == "ok" else video.status))
            look.append(entry_of(videos[-1], known_spans=len(files[video.path]) > 1))
    return Rechecked(videos, look, frozenset(moved), frozenset(missing))


class Digests:
    """What files hold, each read once, in other processes."""

    def __init__(self, running: Running, progress: Progress) -> None:
        self.running, self.progress = running, progress
        self.known: dict[Path, Columns | None] = {}

    def read(self, paths: Iterable[Path]) -> None:
        todo = [path for path in dict.fromkeys(paths) if path not in self.known]
        limits = self.running.limits
        work = run_each(content_columns, todo, limits.workers or cores(), limits.seconds, limits.memory)
        for done, (index, outcome) in enumerate(work, 1):
            self.known[todo[index]] = None if isinstance(outcome, Failure) else outcome
            self.progress(done, len(todo), "comparing contents")

    def of(self, path: Path, unread: str | None = None) -> str | None:
        """None where it cannot be read; `unread` where nobody asked for it."""
        if path not in self.known:
            return unread
        columns = self.known[path]
        return None if columns is None else columns["content"]


def below_root(paths: Sequence[Path], root: Path) -> dict[Path, Path]:
    """Where files lie below the new root: at their places relative to that folder above them all with which most are
    found."""
    common = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path("/")
    best: dict[Path, Path] = {}
    for depth in range(1, len(common.parts) + 1):
        there = {path: index for path in paths if state_or_none(index := root.joinpath(*path.parts[depth:]))}
        if len(there) > len(best):
            best = there
    return best


def candidates(folders: Iterable[Path], root: Path | None, leave_out: Path) -> list[Path]:
    """Every video in which a file that is not where it was may be found."""
    indices = [root, *folders] if root is not None else list(folders)
    return list(dict.fromkeys(path for index in indices for _, path in walk(index, leave_out)))


def search_moved(
    displaced: Sequence[Path],
    recorded: Mapping[Path, str],
    now: Mapping[Path, str | None],
    indices: Mapping[Path, Path],
    files: Mapping[Path, Sequence[Video]],
    others: Sequence[Path],
    digests: Digests,
) -> dict[Path, Path]:
    """Old place -> where its content lies now, each file for one row's file at most, equal names first."""
    if not displaced:
        return {}
    kept = {indices.get(path, path) for path in files if path in recorded and now[path] == recorded[path]}
    sizes = {files[path][0].size for path in displaced}
    free = [path for path in others if path not in kept]
    free += [index for path in displaced if (index := indices.get(path, path)) not in free and now[path]]
    digests.read(path for path in free if (state := state_or_none(path)) and state[0] in sizes)
    holders: dict[str, list[Path]] = {}
    for path in free:
        if content := digests.of(path):
            holders.setdefault(content, []).append(path)
    found: dict[Path, Path] = {}
    pairs = [(path, index) for path in displaced for index in holders.get(recorded[path], [])]
    taken: set[Path] = set()
    for path, index in sorted(pairs, key=lambda pair: -same_folders(*pair)):
        if path not in found and index not in taken:
            found[path] = index
            taken.add(index)
    return found


def same_folders(one: Path, other: Path) -> int:
    """How many names at the end of both paths are the same."""
    ends = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return next((count for count, (a, b) in enumerate(ends) if a != b), min(len(one.parts), len(other.parts)))


def entry_of(video: Video, known_spans: bool) -> Entry:
    """What is asked of a row's file again: its own span, or all of it where the row is of a whole file."""
    make = partial(
        Entry, video=file_id(video), path=video.path, label=video.label, group=video.group, split=video.split,
        name=video.id,
    )  # fmt: skip
    whole = file_id(video) == video.id and not known_spans
    return make(start=-math.inf, end=math.inf) if whole else make(start=video.start, end=video.end)
