"""What tables and folders say of the videos of a corpus: labels, groups, splits and captions."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from tubelet.corpus.folders import labels_from_folders
from tubelet.corpus.listing import Listing
from tubelet.corpus.names import Names, Use
from tubelet.corpus.rows import Named, SaidCaption, named_rows, seconds
from tubelet.corpus.schema import Row
from tubelet.corpus.tables import Table
from tubelet.errors import CorpusError
from tubelet.wording import plural

FEW = 8  # labels, too few to judge
VALUES = ("label", "group", "split")

Values = dict[str, str]
Captions = dict[str, list[SaidCaption]]


def annotations(
    listing: Listing,
    names: Names,
    labels: str | Path | None,
    captions: str | Path | None,
    folders: Sequence[str | Path] = (),
    strict: bool = False,
) -> tuple[dict[str, Values], Captions]:
    """id -> label, group and split, and id -> captions: of the tables, and of the `folders` of these sources.

    What became of every table is left in the listing. What two of them, or a table and a list, say of one video must
    agree.
    """
    given: dict[str, Values] = {}
    texts: Captions = {}
    if labels is not None:
        given, use = read_labels(Path(labels), names, listing.remarks)
        listing.tables.append(use)
    if captions is not None:
        texts, use = read_captions(Path(captions), names, listing.remarks)
        listing.tables.append(use)
    for table in listing.tables:
        table.check(strict)
    if folders:
        found, said = labels_from_folders(listing.entries, folders)
        listing.remarks += said
        agree(given, found, f"{labels}", "its folder")
        given = {video: {**found.get(video, {}), **given.get(video, {})} for video in {**found, **given}}
    for entry in listing.entries:
        own = {name: value for name in VALUES if (value := getattr(entry, name))}
        if not listing.official:  # what a user says of an official data set takes the place of what it says itself
            for video in (entry.video, entry.id):
                agree({video: own}, given, "the list", "its folder" if folders else f"{labels}")
    if listing.official and labels is not None:
        listing.remarks.append(f"what {labels} says takes the place of what {listing.official} says")
    return given, texts


def agree(one: Mapping[str, Values], other: Mapping[str, Values], this: str, that: str) -> None:
    """Raises where two sources give one thing different values, of which one would be lost."""
    for video, values in one.items():
        for name, value in values.items():
            if (theirs := other.get(video, {}).get(name, value)) != value:
                raise CorpusError(
                    f"{video} has two values of {name}: {value!r} by {this} and {theirs!r} by {that}; correct one of "
                    "them, or leave one out; nothing was written"
                )


def read_labels(path: Path, names: Names, remarks: list[str]) -> tuple[dict[str, Values], Use]:
    """id -> label, group and split, as far as the table gives them."""
    table = Table.read(path)
    rows = named_rows(table, second="label", known=names.known_in(path.parent))
    remarks += table.remarks
    if table.columns is not None and not set(VALUES) & set(table.columns):
        raise CorpusError(f"{path} has no column label, group or split; its columns are: {', '.join(table.header)}")
    if {"start", "end"} & set(table.columns or ()):
        remarks.append(f"{path.name}: start and end are not used; give the table as a SOURCE to cut videos by it")
    use = Use(path)
    return values_of(rows, names, use), use


def values_of(rows: Iterable[Named], names: Names, use: Use, columns: Sequence[str] = VALUES) -> dict[str, Values]:
    """id -> what the rows say of it in these columns; two values of one thing are refused."""
    given: dict[str, Values] = {}
    lines: dict[tuple[str, str], int] = {}
    for row in rows:
        if (video := use.find(names, row["path"], row.line)) is None:
            continue
        values = {name: row[name] for name in columns if row[name]}
        for name, value in values.items():
            line = lines.setdefault((video, name), row.line)
            if (before := given.setdefault(video, {}).setdefault(name, value)) != value:
                raise CorpusError(
                    f"{use.table} gives {video} two values of {name}: {before!r} and {value!r} "
                    f"(lines {line} and {row.line}); keep one of them; nothing was written"
                )
        if values:
            use.used += 1
        else:
            use.leave(row.line, f"it says nothing of {row['path']}")
    return given


def numbers_hint(labels: Collection[str]) -> list[str]:
    """Labels that are nearly all different numbers are measurements, which no classifier learns."""
    numbers = {label for label in labels if re.fullmatch(r"[-+]?(\d+[.,]?\d*|\.\d+)([eE][-+]?\d+)?", label)}
    if len(labels) < FEW or len(numbers) <= len(labels) / 2:
        return []
    return [
        f"{len(numbers)} of {len(labels)} labels are different numbers: this looks like regression; "
        "tubelet's probes are classifiers"
    ]


def look_alikes(rows: Collection[Row]) -> list[str]:
    """Labels, groups and splits that a reader takes for one, and that are two; a group that only names its video is
    none."""
    remarks: list[str] = []
    for column in VALUES:
        remarks += alike(column, {row[column] for row in rows if row[column] and row[column] != row["video"]})
    return remarks


def alike(column: str, values: Collection[str]) -> list[str]:
    """A remark where some of these are read alike."""
    forms: dict[str, list[str]] = {}
    for value in sorted(set(values)):
        forms.setdefault(read_alike(value), []).append(value)
    if not (several := [some for some in forms.values() if len(some) > 1]):
        return []
    more = f", and {plural(len(several) - 1, 'pair')} more" if len(several) > 1 else ""
    first = " and ".join(map(ascii, several[0][:2]))
    return [f"{column}s {first} are read alike and count as two{more}; write them alike where they mean one"]


def read_alike(value: str) -> str:
    """Without what the eye does not see, or hardly: case, kinds of spaces, how accents are written, 1 as 01 or 1.0."""
    seen = "".join(letter for letter in unicodedata.normalize("NFKC", value) if unicodedata.category(letter) != "Cf")
    plain = " ".join(seen.casefold().replace("_", " ").split())
    return f"{float(plain):g}" if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", plain) else plain


def read_captions(path: Path, names: Names, remarks: list[str]) -> tuple[Captions, Use]:
    """id -> its captions, in the order of the table."""
    table = Table.read(path)
    rows = named_rows(table, ("path", "caption"), second="caption", known=names.known_in(path.parent))
    remarks += table.remarks
    use = Use(path)
    found: Captions = {}
    for row in rows:
        if (video := use.find(names, row["path"], row.line)) is None:
            continue
        if not row["caption"]:
            use.leave(row.line, f"the caption of {row['path']} is empty")
            continue
        time = seconds(row["time"], f"{path} line {row.line}", "time")
        caption = SaidCaption(text=row["caption"], source=row["source"] or "caption", time=time)
        found.setdefault(video, []).append(caption)
        use.used += 1
    return found, use
