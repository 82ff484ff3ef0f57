"""Labels other than the table's: a column of a CSV or Parquet file, or of the truth beside the embedded corpus."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from tubelet.data.listing import Names
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
    files = Counter(video.path for video in corpus.videos)
    ids = {video.id: video.id for video in corpus.videos}
    names = Names((video.id, video.path) for video in corpus.videos if files[video.path] == 1)
    found = {said: ids.get(said) or names.find(said, file.parent) for said in (str(row[name]) for row in rows)}
    labels = {
        video: str(row[column])
        for row in rows
        if (video := found[str(row[name])]) is not None and row[column] not in (None, "")
    }
    if not labels:
        raise CorpusError(f"no {name} of {file} is a video of corpus {corpus.name} (first: {rows[0][name]!r})")
    return labels


def read_rows(file: Path) -> list[dict[str, Any]]:
    try:
        if file.suffix == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_table(file).to_pylist())
        with file.open(newline="", encoding="utf-8-sig") as lines:
            return list(csv.DictReader(lines))
    except (OSError, ValueError) as error:
        raise CorpusError(f"the labels in {file} cannot be read: {error}") from error
