"""A dataset is a table: a corpus is a folder with one row per video (or segment) and one row per caption.

`videos.parquet`, `captions.parquet` and, where there are moments, `moments.parquet` open in pandas or DuckDB as they
are. A file that cannot be used keeps its row, with a status other than "ok" and the reason. Everything derived (maps,
embeddings, the aligner) lies beside them.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from html import escape
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from tubelet.checksums import read_json
from tubelet.corpus import on_disk
from tubelet.corpus.on_disk import Copy, RowsOnDisk
from tubelet.corpus.schema import (
    CAPTIONS,
    LATER,
    MOMENTS,
    TABLES,
    VIDEOS,
    Caption,
    Moment,
    Video,
    count_rows,
    damage_named,
    fitted,
    located,
    read_table,
)
from tubelet.corpus.tables import EXTENSIONS
from tubelet.errors import CorpusError
from tubelet.escape import one_line
from tubelet.remote.address import Address, as_text, is_remote
from tubelet.remote.mirror import mirrored

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
STORE = "store"  # of what is known of a corpus that was opened there: its URL, and the versions of its files


class Corpus:
    """A corpus folder. The tables are read when first asked for."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.about = about

    @classmethod
    def open(cls, path: str | Path) -> "Corpus":
        if (address := Address.of(path)) is not None:
            return cls.of_store(address)
        folder = Path(path).expanduser().absolute()
        if not folder.is_dir():
            raise CorpusError(f"there is no corpus at {path}; make one with `tubelet index VIDEOS --out {path}`")
        about = read_corpus_about(folder)
        if about is None:
            raise CorpusError(
                f"{path} is a folder but no corpus (it holds no corpus.json); "
                f"make one with `tubelet index {path} --out CORPUS`"
            )
        if about.get("format") != FORMAT:
            raise CorpusError(
                f"{path} is a corpus of format {about.get('format')} and this version reads format {FORMAT}; "
                "index it anew"
            )
        return cls(folder, about)

    @classmethod
    def of_store(cls, address: Address) -> "Corpus":
        """A corpus whose tables, maps and embeddings are copied from a store, and whose videos are read there."""
        folder, states = mirrored(address, holds_no_video, ("corpus.json", *TABLES))
        if "corpus.json" not in states:
            raise CorpusError(f"{address.url} holds no corpus.json; name the folder of a corpus or of a pack")
        corpus = cls.open(folder)
        versions = {name: state.number for name, state in states.items() if not holds_no_video(name)}
        return cls(folder, {**corpus.about, STORE: {"url": address.url, "versions": versions}})

    @property
    def place(self) -> str:
        """By what the corpus is opened again: its folder, or the URL of its store."""
        return str(self.about[STORE]["url"]) if STORE in self.about else str(self.folder.resolve())

    @classmethod
    def of(cls, corpus: "Corpus | str | Path") -> "Corpus":
        """A corpus that is open, or that of a folder."""
        return corpus if isinstance(corpus, Corpus) else cls.open(corpus)

    @property
    def name(self) -> str:
        return str(self.about["name"])

    @cached_property
    def videos(self) -> Sequence[Video]:
        """Every row: a list, or of a large table a view that reads what is asked of it."""
        store = self.about.get(STORE)
        make = partial(video_of, self.folder)
        if store is not None:
            make = partial(video_in_store, store["url"], store["versions"])
        if self.large:
            with damage_named(table := self.folder / "videos.parquet"):
                return RowsOnDisk(Copy(table, partial(fitted, schema=VIDEOS)), make)
        rows = read_table(self.folder / "videos.parquet", VIDEOS).to_pylist()
        return [make(number, row) for number, row in enumerate(rows)]

    @cached_property
    def large(self) -> bool:
        """Whether the videos table is too large to be held in memory by every process."""
        with damage_named(table := self.folder / "videos.parquet"):
            return count_rows(table) > on_disk.LARGE

    @cached_property
    def by_id(self) -> dict[str, Video]:
        return {video.id: video for video in self.videos}

    @cached_property
    def label_of(self) -> dict[str, str]:
        """By id, of the videos that have a label."""
        return {video.id: video.label for video in self.videos if video.label}

    @cached_property
    def captions(self) -> list[Caption]:
        rows = read_table(self.folder / "captions.parquet", CAPTIONS).to_pylist()
        return [Caption(row=number, **row) for number, row in enumerate(rows)]

    @cached_property
    def moments(self) -> list[Moment]:
        """Those of all videos, in the order of the table; none where there is no table."""
        path = self.folder / "moments.parquet"
        return [Moment(**row) for row in read_table(path, MOMENTS).to_pylist()] if path.exists() else []

    @cached_property
    def moments_by_video(self) -> dict[str, list[Moment]]:
        found: dict[str, list[Moment]] = {}
        for moment in self.moments:
            found.setdefault(moment.video, []).append(moment)
        return found

    def select(self, split: str = "train") -> Sequence[Video]:
        """The usable videos of a split, or of "all", that are kept."""
        if isinstance(self.videos, RowsOnDisk):
            asked = {"status": "ok"} | ({} if split == "all" else {"split": split})
            with damage_named(table := self.folder / "videos.parquet"):
                return self.videos.take(on_disk.numbers_where(table, asked, "keep"))
        return [video for video in self.kept(split) if video.status == "ok"]

    def kept(self, split: str = "all") -> list[Video]:
        """The rows of a split, those that cannot be read among them, without those that `tubelet curate` left out."""
        return [video for video in self.videos if video.keep is not False and split in ("all", video.split)]

    def count_left_out(self) -> int:
        """How many rows the column `keep` leaves out; no row is read for it."""
        with damage_named(table := self.folder / "videos.parquet"):
            some = on_disk.scan(table, ["keep"])
            return sum(pc.sum(pc.invert(part["keep"])).as_py() or 0 for part in some if part.column_names)

    def captions_of(self, video: Video, source: str | None = None) -> list[Caption]:
        """A video's captions, in the order of the table."""
        captions = self._captions_by_video.get(video.id, [])
        return [caption for caption in captions if source in (None, caption.source)]

    @cached_property
    def labels(self) -> list[str]:
        """The class names, sorted."""
        if self.large:
            found = (
                pc.unique(some["label"]).to_pylist() for some in on_disk.scan(self.folder / "videos.parquet", ["label"])
            )
            return sorted({label for labels in found for label in labels if label is not None})
        return sorted({video.label for video in self.videos if video.label is not None})

    @cached_property
    def sources(self) -> list[str]:
        """The names of the caption sources, sorted."""
        return sorted({caption.source for caption in self.captions})

    def check_sources(self, sources: Sequence[str]) -> None:
        """`CorpusError` where no caption is of one of these."""
        if unknown := set(sources) - set(self.sources):
            there = ", ".join(self.sources) or "none"
            raise CorpusError(f"{self.folder} has no captions of source {sorted(unknown)[0]!r}; it has: {there}")

    def fingerprint(self) -> str:
        """A hash of what the tables say; where the files lie does not enter."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name, schema in (("videos.parquet", VIDEOS), ("captions.parquet", CAPTIONS)):
            whole = None if name == "videos.parquet" and self.large else read_table(self.folder / name, schema)
            for column in schema.names:
                said = column in ("reading", "keep") and any(
                    value not in (None, "") for values in self._values(name, column, whole) for value in values
                )
                if said or column not in ("path", *LATER):
                    digest.update(f"({name!r}, {column!r}, [".encode())  # as repr writes the whole of it
                    for number, values in enumerate(self._values(name, column, whole)):
                        digest.update((", " * bool(number) + repr(values)[1:-1]).encode())
                    digest.update(b"])")
        if self.moments:
            digest.update(repr(self.moments).encode())
        return digest.hexdigest()

    def _values(self, name: str, column: str, whole: pa.Table | None) -> Iterator[list[Any]]:
        """A column of a table, of a large one some values at a time."""
        if whole is not None:
            yield whole[column].to_pylist()
            return
        fit = partial(fitted, schema=pa.schema([VIDEOS.field(column)]))
        for some in on_disk.scan(self.folder / name, [column], fit):
            yield some[column].to_pylist()

    @cached_property
    def _captions_by_video(self) -> dict[str, list[Caption]]:
        found: dict[str, list[Caption]] = {}
        for caption in self.captions:
            found.setdefault(caption.video, []).append(caption)
        return found

    def __fspath__(self) -> str:
        """A corpus is accepted wherever a path of its folder is."""
        return str(self.folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return Corpus, (self.folder, self.about)

    def to_pandas(self, table: Literal["videos", "captions", "moments"] = "videos") -> "pd.DataFrame":
        """One of the tables as a data frame, a row per video (with the full path), caption or moment."""
        if table == "moments" and not (self.folder / "moments.parquet").exists():
            raise CorpusError(f"{self.folder} has no moments; add them with `tubelet index --moments FILE`")
        name = f"{table}.parquet"
        frame: pd.DataFrame = read_table(self.folder / name, TABLES[name]).to_pandas()
        if table == "videos":
            root = Path(self.about[STORE]["url"]) if STORE in self.about else self.folder
            frame["path"] = [as_text(located(root, path)) for path in frame["path"]]
        return frame

    def __repr__(self) -> str:
        try:
            return "\n".join([f"Corpus {one_line(self.name)} in {one_line(str(self.folder))}", *self._overview()])
        except CorpusError as error:
            return f"Corpus {one_line(self.name)} in {one_line(str(self.folder))}: {one_line(str(error))}"

    def _repr_html_(self) -> str:
        return "<br>".join(escape(line) for line in repr(self).splitlines())

    def _overview(self) -> list[str]:
        """Videos by split and status, classes and captions, a line each."""
        if self.large:
            return [f"  videos: {len(self.videos)}"]
        usable = Counter(video.split for video in self.select("all"))
        bad = Counter(video.status for video in self.videos if video.status != "ok")
        lines = [f"  videos: {len(self.videos)}, usable: " + (counts(usable) or "none")]
        lines += [f"  not usable: {counts(bad)}"] if bad else []
        left_out = self.count_left_out()
        lines += [f"  left out by keep: {left_out}"] if left_out else []
        lines += [f"  classes: {len(self.labels)}"] if self.labels else []
        if self.moments:
            lines.append(f"  moments: {len(self.moments)} of {len({moment.label for moment in self.moments})} classes")
        by_source = Counter(caption.source for caption in self.captions)
        return lines + ([f"  captions: {len(self.captions)} ({counts(by_source)})"] if by_source else [])


def counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{one_line(name)} {count}" for name, count in sorted(found.items()))


def normalise_text(text: str) -> str:
    """Captions that differ only in case, spacing or final punctuation are one text."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".!?;, ")


def number_texts(captions: Iterable[Caption]) -> dict[str, int]:
    """A number for every different normalised text, in the order of their first appearance."""
    return {text: number for number, text in enumerate(dict.fromkeys(normalise_text(c.text) for c in captions))}


class CorpusAbout(TypedDict):
    """What `corpus.json` says."""

    format: int
    name: str
    sources: NotRequired[list[str]]
    dataset: NotRequired[dict[str, str]]


def read_corpus_about(folder: Path) -> dict[str, Any] | None:
    path = folder / "corpus.json"
    return (
        dict(read_json(path, CorpusAbout, CorpusError, "it is not that of a corpus: index the videos anew"))
        if path.exists()
        else None
    )


def video_of(folder: Path, number: int, row: dict[str, Any]) -> Video:
    return Video(row=number, **{**row, "path": located(folder, row["path"])})


def video_in_store(url: str, versions: Mapping[str, int], number: int, row: dict[str, Any]) -> Video:
    """A row whose file lies beside the table in a store; its version is that of the file (or shard) there now."""
    name = row["path"].partition("#")[0]
    own = {} if is_remote(name) else {"modified": versions.get(name)}
    return video_of(Path(url), number, {**row, **own})


def holds_no_video(name: str) -> bool:
    """Whether a file of a corpus folder is one of its tables, maps or models."""
    path = PurePosixPath(name)
    is_shard = path.name.startswith("shard-") and path.suffix == ".parquet"
    return not is_shard and path.suffix.lower() not in (".tar", *EXTENSIONS)
