"""Labels other than the table's: a column of a CSV or Parquet file, or of the truth beside the synthetic dataset."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tubelet.corpus.annotations import alike, numbers_hint, values_of
from tubelet.corpus.names import Names, Use
from tubelet.corpus.rows import named_rows
from tubelet.corpus.schema import file_id
from tubelet.corpus.table import Corpus
from tubelet.corpus.tables import Table, from_parquet
from tubelet.errors import CorpusError

KEYS = ("video", "id")  # columns that name rows of a corpus, where a table has paths beside them


def other_labels(
    corpus: Corpus, file: Path | None, column: str | None, remarks: list[str] | None = None, strict: bool = False
) -> dict[str, str]:
    """Video id -> label. Without a file: the column of the synthetic dataset's truth. `remarks` says how many rows
    of the file were used, and which were not; `strict` refuses a file with such rows."""
    if file is None:
        file = corpus.folder / "truth" / "clips.parquet"
        if not file.exists():
            raise CorpusError(
                f"{corpus.folder} has no table of truth to take {column!r} from; give one with --labels FILE"
            )
    table = from_parquet(file) if file.suffix == ".parquet" else Table.read(file)
    if table.columns is not None:
        table = with_columns(table, column)
    elif column not in (None, "label"):
        raise CorpusError(f"{file} has no column {column}, as it has no header")
    names = Names([name for video in corpus.videos for name in ((file_id(video), video.path), (video.id, None))])
    rows = named_rows(table, ("path", "label"), second="label", known=names.known_in(file.parent))
    use = Use(file)
    given = values_of(rows, names, use, ("label",))
    use.check(strict)
    found = ((video.id, given.get(video.id) or given.get(file_id(video))) for video in corpus.videos)
    labels = {video: values["label"] for video, values in found if values}
    if remarks is not None:
        remarks += [*table.remarks, *numbers_hint(list(labels.values()))]
        remarks += [*alike("label", labels.values()), use.summary()]
    return labels


def labels_of(
    corpus: Corpus,
    labels: Mapping[str, str] | str | Path | None,
    column: str | None,
    strict: bool,
    tell: Callable[[str], object] = lambda line: None,
) -> Mapping[str, str] | None:
    """The labels that are taken in place of the corpus's own: by id, of a table, or of the truth; None: its own."""
    if isinstance(labels, Mapping):
        return labels
    if not (labels or column):
        return None
    remarks: list[str] = []
    found = other_labels(corpus, Path(labels) if labels else None, column, remarks, strict)
    for line in remarks:
        tell(line)
    return found


def with_columns(table: Table, column: str | None) -> Table:
    """The table with the named column as its label."""
    columns = dict(table.columns or {})
    if keys := [key for key in KEYS if key in table.header]:
        columns["path"] = table.header.index(keys[0])
    if column is not None:
        if column not in table.header:
            raise CorpusError(f"{table.path} has no column {column}; its columns are {', '.join(table.header)}")
        columns["label"] = table.header.index(column)
    return replace(table, columns=columns)
