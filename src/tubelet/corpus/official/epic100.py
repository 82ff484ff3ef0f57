"""EPIC-Kitchens-100 (Damen et al., arXiv 2006.13256): segments of long egocentric videos, each a verb and a noun.

A row is a segment, named by its narration; what was said is its caption. The group is the video, so that no file lies
in two splits. Results are reported on validation; test has no labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import chz

from tubelet.corpus.listing import seconds
from tubelet.corpus.official.base import Dataset, Item, rows_of
from tubelet.errors import CorpusError

SPLITS = {"train": "train", "validation": "val", "test_timestamps": "test"}


@chz.chz
class Epic100(Dataset):
    """`EPIC_100_train.csv`, `EPIC_100_validation.csv`, `EPIC_100_test_timestamps.csv`, and both class tables."""

    name: ClassVar[str] = "epic100"
    source: ClassVar[str] = "narration"
    target: Literal["action", "verb", "noun"] = chz.field(default="action", doc="what the label is; action is both")

    def read(self, files: Sequence[Path]) -> list[Item]:
        pattern = r"EPIC_100_(train|validation|test_timestamps)\.csv"
        tables = self.pick(files, pattern, "EPIC_100_train.csv or EPIC_100_validation.csv")
        verbs, nouns = (class_names(files, kind) for kind in ("verb", "noun"))
        items = []
        for match, path in tables:
            for row in rows_of(path, "narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp"):
                label = None
                if "verb_class" in row:
                    try:
                        verb, noun = verbs[row["verb_class"]], nouns[row["noun_class"]]
                    except KeyError:
                        raise self.wrong(path, ",".join(row.values())) from None
                    label = {"verb": verb, "noun": noun, "action": f"{verb} {noun}"}[self.target]
                start, end = (seconds(row[name], path, name) for name in ("start_timestamp", "stop_timestamp"))
                items.append(
                    Item(
                        file=f"{row['participant_id']}/videos/{row['video_id']}.MP4",
                        split=SPLITS[match[1]],
                        label=label,
                        captions=(row["narration"],) if row.get("narration") else (),
                        name=row["narration_id"],
                        start=start,
                        end=end,
                    )
                )
        return items


def class_names(files: Sequence[Path], kind: str) -> dict[str, str]:
    """Number -> name. The tables of segments hold the word that was said, which is not that of its class."""
    for path in files:
        if path.name in (f"EPIC_100_{kind}_classes.csv", f"EPIC_100_{kind}_classes_v2.csv"):
            return {row["id"]: row["key"] for row in rows_of(path, "id", "key")}
    raise CorpusError(f"epic100 needs EPIC_100_{kind}_classes.csv, which lies beside the tables of segments")
