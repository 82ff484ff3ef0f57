"""MSVD (Chen and Dolan, ACL 2011): 1,970 clips of YouTube with about 40 English captions each.

The corpus itself has no split; the one in use (1,200 / 100 / 670, Venugopalan et al., NAACL 2015) is three lists of
names beside it, or the order of `youtube_mapping.txt`. Where neither is there, whole recordings are drawn.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import chz

from tubelet.corpus.official.base import Dataset, Item, has_columns, lines_of, rows_of
from tubelet.corpus.overlap import UNUSED
from tubelet.errors import CorpusError

COLUMNS = ("VideoID", "Start", "End", "Language", "Description")
LISTS = {"train_list.txt": "train", "val_list.txt": "val", "test_list.txt": "test"}
FIRST = (("train", 1200), ("val", 1300), ("test", 1970))  # places of the mapping


@chz.chz
class Msvd(Dataset):
    """`AllVideoDescriptions.txt` (`ID a caption`), or the table `VideoID,Start,End,...,Language,Description`."""

    name: ClassVar[str] = "msvd"
    source: ClassVar[str] = "human"
    language: str = chz.field(default="English", doc="captions of this language, where the table has several")

    def read(self, files: Sequence[Path]) -> list[Item]:
        captions: dict[str, list[str]] = {}
        for path in files:
            if path.name == "AllVideoDescriptions.txt":
                for line in lines_of(path):
                    name, _, text = line.partition(" ")
                    if not line.startswith("#") and re.search(r"_\d+_\d+$", name):
                        captions.setdefault(name, []).append(text.strip())
            elif path.suffix == ".csv" and has_columns(path, *COLUMNS):
                for row in rows_of(path, *COLUMNS):
                    name = f"{row['VideoID']}_{row['Start']}_{row['End']}"
                    if row["Language"] == self.language and row["Description"].strip():
                        captions.setdefault(name, []).append(row["Description"].strip())
        if not captions:
            raise CorpusError(
                f"{self.name} needs AllVideoDescriptions.txt, or the table with the columns {', '.join(COLUMNS)}"
            )
        splits = split_of(files)
        return [
            Item(
                file=name,
                split=splits.get(name, UNUSED if splits else None),
                group=name.rsplit("_", 2)[0],
                captions=tuple(texts),
            )
            for name, texts in captions.items()
        ]


def split_of(files: Sequence[Path]) -> dict[str, str]:
    """Name -> split, by the lists or by the mapping; {} where there is neither."""
    found = {line: LISTS[path.name] for path in files if path.name in LISTS for line in lines_of(path)}
    if found:
        return found
    for path in files:
        if path.name == "youtube_mapping.txt":
            for line in lines_of(path):
                name, _, number = line.partition(" vid")
                found[name] = next((split for split, last in FIRST if int(number) <= last), UNUSED)
    return found
