"""Which video a name in a table means: it is said for sure, or no video is meant. Start reading at `Names`.

Also what becomes of the rows of a table: how many are used, and which are not and why.
"""

import difflib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path, PureWindowsPath

from tubelet.corpus.tables import looks_like_video
from tubelet.errors import CorpusError
from tubelet.wording import plural

SHOWN = 3  # rows that are named
SEARCHED = 20_000  # names among which a near one is looked for


class Names:
    """The videos that names may mean, each by its id and perhaps its path.

    A name is an id, a path (from the table's folder, the working folder or the root), or the end of one or the other in
    whole parts, the last with its ending or without one. What contradicts in a folder or an ending means another video.
    Composed and decomposed letters are the same.
    """

    def __init__(self, videos: Iterable[tuple[str, Path | None]]) -> None:
        self.whole: dict[str, set[str]] = {}  # ids and paths, as they are and with composed letters
        self.ends: dict[str, list[tuple[str, str, bool]]] = {}  # last part: folders, id, whether it has its ending
        self.folders: set[str] = set()
        self.here = os.getcwd()
        self.known: dict[tuple[str, Path], list[str]] = {}
        self.real: dict[str, str] = {}
        for video, path in dict.fromkeys(videos):
            index = str(path) if path is not None else ""
            if not f"/{index}".endswith(f"/{video}"):
                self.add_end(video, video)
            self.add(video, video)
            if index:
                self.add(index, video)
                self.add_end(index, video)
                self.folders.add(os.path.dirname(index))

    def add(self, name: str, video: str) -> None:
        for key in {name, composed(name)}:
            self.whole.setdefault(key, set()).add(video)

    def add_end(self, name: str, video: str) -> None:
        folders, _, last = f"/{composed(name)}".rpartition("/")
        self.ends.setdefault(last, []).append((folders, video, True))
        if looks_like_video(last):
            self.ends.setdefault(os.path.splitext(last)[0], []).append((folders, video, False))

    def find(self, name: str, folder: Path) -> str | None:
        """The id of the video; None where the name means none, or could mean several."""
        meant = self.meant(name, folder)
        return meant[0] if len(meant) == 1 else None

    def meant(self, name: str, folder: Path) -> list[str]:
        """The ids of all videos that a name in a table in this folder could mean."""
        if (found := self.known.get((name, folder))) is None:
            found = self.known[name, folder] = sorted(self.exactly(name, folder) or self.by_end(name)) if name else []
            windows = PureWindowsPath(name)
            if not found and "\\" in name and not windows.drive:
                found = self.known[name, folder] = self.meant(windows.as_posix(), folder)
        return found

    def known_in(self, folder: Path) -> Callable[[str], bool]:
        """Whether a name in a table in this folder means a video, or could mean one of several."""
        return lambda name: bool(self.meant(name, folder))

    def exactly(self, name: str, folder: Path) -> set[str]:
        """By id, or by path from the table's folder or the working folder; where these are two videos, both."""
        said = os.path.expanduser(name)
        indices = [os.path.normpath(os.path.join(self.here, base, said)) for base in (folder, self.here)]
        found: set[str] = set()
        for key in {name, os.path.normpath(name), *indices}:
            found |= self.whole.get(key) or self.whole.get(composed(key)) or set()
        return found or self.by_links(indices)

    def by_links(self, indices: Iterable[str]) -> set[str]:
        """The folder of the table or that of the videos may be reached through a link."""
        found: set[str] = set()
        for index in indices:
            folder, name = os.path.split(index)
            if (real := self.real.get(folder)) is None:
                real = self.real[folder] = os.path.realpath(folder)
            for other in self.real_folders.get(real, ()):
                found |= self.whole.get(f"{other}/{name}", set())
        return found

    @cached_property
    def real_folders(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for folder in self.folders:
            found.setdefault(os.path.realpath(folder), []).append(folder)
        return found

    def by_end(self, name: str) -> set[str]:
        """By the last parts of an id or a path; a name from the root is whole, and names nothing else."""
        if os.path.isabs(os.path.expanduser(name)):
            return set()
        *above, last = [part for part in composed(os.path.normpath(name)).split("/") if part != ".."] or [""]
        end = "".join(f"/{part}" for part in above)
        ending = looks_like_video(last)
        return {
            video for before, video, whole in self.ends.get(last, ()) if before.endswith(end) and (whole or not ending)
        }

    def why_none(self, name: str, folder: Path) -> str:
        """Why a name means no video, and one that may be meant."""
        meant = self.meant(name, folder)
        if meant:
            return f"{name} could be {meant[0]} or {meant[1]}: write its path"
        near = self.near(name)
        return f"{name or 'an empty name'} is none of the videos" + (f", did you mean {near}?" if near else "")

    def near(self, name: str) -> str | None:
        """A video of the same name elsewhere, else one whose name is written a little otherwise."""
        last = re.split(r"[/\\]", composed(name))[-1]
        stem = (os.path.splitext(last)[0] if looks_like_video(last) else last).casefold()
        if same := self.loose.get(stem):
            return same
        for word in difflib.get_close_matches(stem, islice(self.loose, SEARCHED), n=3, cutoff=0.75):
            if re.sub(r"\d+", "", word) != re.sub(r"\d+", "", stem):  # another number is another video
                return self.loose[word]
        return None

    @cached_property
    def loose(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for last, some in self.ends.items():
            found.setdefault(last.casefold(), some[0][1])
        return found


def composed(name: str) -> str:
    """With letters and their accents as one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


@dataclass
class Use:
    """What became of the rows of a table."""

    table: Path
    used: int = 0
    unused: list[tuple[int, str]] = field(default_factory=list)  # line, why
    unit: str = "line"  # what rows are counted by; files of other forms have texts

    def find(self, names: Names, name: str, line: int) -> str | None:
        """The video that a row names; a row that names none is not used."""
        video = names.find(name, self.table.parent)
        if video is None:
            self.leave(line, names.why_none(name, self.table.parent) if len(self.unused) < SHOWN else name)
        return video

    def leave(self, line: int, why: str) -> None:
        self.unused.append((line, why))

    def summary(self) -> str:
        return f"{self.table.name}: {plural(self.used, 'row')} used, {len(self.unused)} unused" + (
            f" ({self.reasons()})" if self.unused else ""
        )

    def reasons(self) -> str:
        lines = [f"{self.unit} {line}: {why}" for line, why in self.unused[:SHOWN]]
        return "; ".join(lines + ["..."] * (len(self.unused) > SHOWN))

    def check(self, strict: bool) -> None:
        """Raises for a table that gives nothing, and where all rows must be used for one that leaves some."""
        if not self.used:
            count = plural(len(self.unused), "row")
            why = f"{count}, none of them used: {self.reasons()}" if self.unused else "a header and no row"
            raise CorpusError(
                f"{self.table} says nothing of these videos ({why}); correct the table, or name the folder that "
                "holds its videos; nothing was written"
            )
        if strict and self.unused:
            raise CorpusError(
                f"{self.table}: {len(self.unused)} of {plural(self.used + len(self.unused), 'row')} cannot be "
                f"used ({self.reasons()}); correct them, or leave --strict away; nothing was written"
            )
