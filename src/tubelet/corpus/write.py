"""Writes the tables of a corpus: each is there whole or not at all."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tubelet.checksums import write_json, write_parquet
from tubelet.corpus.schema import CAPTIONS, DEFAULTS, MOMENTS, VIDEOS, located, read_table
from tubelet.corpus.table import FORMAT, Corpus
from tubelet.errors import CorpusError
from tubelet.remote.address import as_text
from tubelet.seeds import key

TEST_SHARE = 0.2


def write_corpus(
    folder: str | Path,
    name: str,
    videos: Sequence[Mapping[str, Any]],
    captions: Sequence[Mapping[str, Any]] = (),
    extra: Mapping[str, Any] | None = None,
    finish: Callable[[], object] = lambda: None,
    *,
    moments: Sequence[Mapping[str, Any]] = (),
) -> Corpus:
    """Writes the tables and, last, after `finish`, `corpus.json`; each file is there whole or not at all. Where no
    moments are given, none are written, and those that are there stay.

    A video needs `id` and `path`; a column that is not given takes its default, a `split` that is not given is drawn
    by `assign_split`, a `group` that is not given is the id.
    """
    folder = Path(folder).absolute()
    rows = [completed(row, folder) for row in videos]
    known = {row["id"] for row in rows}
    if len(known) < len(rows):
        raise CorpusError(f"{folder}: two videos have the same id; ids must differ")
    if unknown := [row["video"] for row in captions if row["video"] not in known]:
        raise CorpusError(f"{folder}: {len(unknown)} captions name unknown videos, first {unknown[0]!r}")
    if unknown := [row["video"] for row in moments if row["video"] not in known]:
        raise CorpusError(f"{folder}: {len(unknown)} moments name unknown videos, first {unknown[0]!r}")
    texts = [{"source": "caption", "time": None, **row} for row in captions]
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(folder / "videos.parquet", pa.Table.from_pylist(rows, schema=VIDEOS))
    write_parquet(folder / "captions.parquet", pa.Table.from_pylist(texts, schema=CAPTIONS))
    if moments:
        write_parquet(folder / "moments.parquet", pa.Table.from_pylist(list(moments), schema=MOMENTS))
    finish()
    about = {"format": FORMAT, "name": name, **(extra or {})}
    write_json(folder / "corpus.json", about, indent=2)
    return Corpus.open(folder)


def write_captions(corpus: Corpus, captions: Sequence[Mapping[str, Any]]) -> Corpus:
    """The corpus with these captions in place of those it has; the table is there whole or not at all."""
    known = {video.id for video in corpus.videos}
    if unknown := [row["video"] for row in captions if row["video"] not in known]:
        raise CorpusError(f"{corpus.folder}: {len(unknown)} captions name unknown videos, first {unknown[0]!r}")
    write_parquet(corpus.folder / "captions.parquet", pa.Table.from_pylist(list(captions), schema=CAPTIONS))
    return Corpus.open(corpus.folder)


def write_keep(corpus: Corpus, dropped: Collection[str]) -> Corpus:
    """The corpus without these ids (`keep` is false) and with all others; the table is there whole or not at all."""
    path = corpus.folder / "videos.parquet"
    table = read_table(path, VIDEOS)
    out = pc.is_in(table["id"], pa.array(sorted(dropped), pa.string()))
    keep = pc.if_else(out, pa.scalar(False), pa.scalar(None, pa.bool_()))
    write_parquet(path, table.set_column(VIDEOS.get_field_index("keep"), VIDEOS.field("keep"), keep))
    return Corpus.open(corpus.folder)


def completed(row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The row with every column, its path relative to the corpus where it lies inside it."""
    path = located(folder, row["path"])
    inside = path.is_relative_to(folder)
    full = {**DEFAULTS, "group": row["id"], **row, "path": as_text(path.relative_to(folder) if inside else path)}
    full["group"] = full["group"] or row["id"]
    full["split"] = full.get("split") or assign_split(full["group"])
    full["duration"] = full["duration"] or full["end"] - full["start"]
    if unknown := full.keys() - set(VIDEOS.names):
        raise ValueError(f"the videos table has no column {sorted(unknown)}")
    return full


def assign_split(group: str, seed: int = 0, test: float = TEST_SHARE) -> str:
    """ "test" for about a fifth of the groups, else "train": a keyed hash of the group and nothing else.

    A group never spans two splits, and adding videos moves no old one. Each label's groups are drawn alike, so the
    split is stratified in expectation; an exact share would have to move old videos whenever new ones come.
    """
    return "test" if key(seed, f"split of {group}") < test * 2**63 else "train"
