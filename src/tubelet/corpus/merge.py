"""Merges the rows that a corpus has with those of new files into one table, with its captions."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tubelet.corpus.overlap import UNUSED, shared_groups
from tubelet.corpus.rows import SaidCaption, split_name
from tubelet.corpus.schema import Row, Video, file_id
from tubelet.corpus.write import assign_split
from tubelet.errors import CorpusError
from tubelet.video.reader import SAME
from tubelet.wording import plural

USUAL = ("train", "val", "test", UNUSED)


def old_rows(known: Iterable[Video]) -> list[Row]:
    rows = []
    for video in known:
        row = {**vars_of(video), "path": str(video.path), "video": file_id(video)}
        rows.append(row)
    return rows


def merged(old: list[Row], new: list[Row]) -> list[Row]:
    """The old rows, those of files tried again replaced, and behind them the new ones."""
    again = {row["id"]: row for row in new}
    if len(again) < len(new):
        twice = next(name for name, count in Counter(row["id"] for row in new).items() if count > 1)
        raise CorpusError(
            f"two rows have the id {twice}: leave out the whole video, or its segments; no row was written"
        )
    files = {row["path"] for row in new}
    rows = []
    for row in old:
        if row["status"] == "ok":
            rows.append(row)
        elif row["id"] in again:
            found = again.pop(row["id"])
            rows.append({**found, **{key: row[key] for key in ("label", "group", "split") if row[key]}})
        elif row["path"] not in files:
            rows.append(row)
    return [*rows, *again.values()]


def give_splits(rows: Iterable[Row], remarks: list[str], known: Collection[str] = ()) -> None:
    """A split given by the user is kept; the rest of its group joins it; other groups are drawn. `known` are the ids of
    rows that had one before."""
    rows, drawn = list(rows), list[Row]()
    said = any(row["split"] for row in rows if row["id"] not in known)
    given: dict[str, set[str]] = {}
    for row in rows:
        if row["split"]:
            row["split"] = split_name(row["split"])
            given.setdefault(row["group"], set()).add(row["split"])
    for row in rows:
        if not row["split"]:
            mates = given.get(row["group"], set())
            drawn += [row] * (len(mates) != 1)
            row["split"] = next(iter(mates)) if len(mates) == 1 else assign_split(row["group"])
    if said and drawn:
        remarks.append(
            f"{plural(len(drawn), 'row')} without a split beside rows that have one: it is drawn, train or test "
            f"(first: {drawn[0]['id']}, {drawn[0]['split']}); the split unused leaves them out"
        )
    for split, count in Counter(row["split"] for row in rows).items():
        if split not in USUAL:
            remarks.append(
                f"split {split!r} ({plural(count, 'row')}) is none of train, val and test: it is used only where it is "
                "named, as in data.split"
            )
    if torn := shared_groups(rows):
        remarks.append(
            f"leak: {plural(len(torn), 'group')} in more than one split (first: {torn[0]}), as given or as before the "
            "rows had a group; to keep groups whole, index into a new folder without a split column"
        )


def captions_of_rows(rows: Iterable[Row], texts: Mapping[str, Sequence[SaidCaption]]) -> list[Row]:
    """Each caption with the row it speaks of: of a segmented video, the segment of its time, else all of them."""
    found = []
    for row in rows:
        own = list(texts.get(row["id"], ()))
        if row["id"] != row["video"]:
            whole = texts.get(row["video"], ())
            own += [c for c in whole if c["time"] is None or row["start"] - SAME <= c["time"] < row["end"]]
        found += [{"video": row["id"], **caption} for caption in own]
    return found


def new_captions(captions: Iterable[Row], kept: Iterable[Row]) -> list[Row]:
    there = {(c["video"], c["text"], c["source"], c["time"]) for c in kept}
    return [c for c in captions if (c["video"], c["text"], c["source"], c["time"]) not in there]


def vars_of(row: Any) -> Row:
    """The columns of a row of the table."""
    return {key: value for key, value in asdict(row).items() if key != "row"}
