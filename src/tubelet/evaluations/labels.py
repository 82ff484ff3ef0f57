"""Labels other than the table's: a column of a CSV or Parquet file, or of the truth beside the embedded corpus."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from tubelet.data.table import Corpus
from tubelet.errors import CorpusError

KEYS = ("video", "id", "path")


def other_labels(corpus: Corpus, file: Path | None, column: str | None) -> dict[str, str]:
    """Video id -> label. Without a file: the column of the embedded corpus's truth."""
    if file is None:
        file = corpus.folder / "truth" / "clips.parquet"
        if not file.exists():
            raise CorpusError(
                f"{corpus.folder} has no table of truth to take {column!r} from; give one with --labels FILE"
            )
    rows = read_rows(file)
    columns = list(rows[0]) if rows else []
    name = next((key for key in KEYS if key in columns), None)
    column = column or "label"
    if name is None or column not in columns:
        wanted = "video, id or path" if name is None else column
        raise CorpusError(f"{file} has no column {wanted}; its columns are {', '.join(columns) or 'none'}")
    ids = known_as(corpus)
    labels = {
        ids[str(row[name])]: str(row[column]) for row in rows if str(row[name]) in ids and row[column] not in (None, "")
    }
    if not labels:
        raise CorpusError(f"no {name} of {file} is a video of corpus {corpus.name} (first: {rows[0][name]!r})")
    return labels


def known_as(corpus: Corpus) -> dict[str, str]:
    """Every name that means one video: its id, its path, its file name where no other video has it."""
    names = {video.id: video.id for video in corpus.videos}
    paths = Counter(video.path for video in corpus.videos)
    files = Counter(video.path.name for video in corpus.videos)
    for video in corpus.videos:
        if paths[video.path] == 1:
            names.setdefault(str(video.path), video.id)
        if files[video.path.name] == 1:
            names.setdefault(video.path.name, video.id)
    return names


def read_rows(file: Path) -> list[dict[str, Any]]:
    try:
        if file.suffix == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_table(file).to_pylist())
        with file.open(newline="", encoding="utf-8-sig") as lines:
            return list(csv.DictReader(lines))
    except (OSError, ValueError) as error:
        raise CorpusError(f"the labels in {file} cannot be read: {error}") from error
