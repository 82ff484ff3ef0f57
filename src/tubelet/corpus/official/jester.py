"""Jester v1 (Materzynska et al., ICCV workshops 2019): 148,092 clips of 27 gestures. Left and right are classes.

Results are reported on validation; test has no labels. Clips come as folders of JPEG pictures at 12 a second.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import chz

from tubelet.corpus.official.base import Dataset, Item, lines_of

SPLITS = {"train": "train", "validation": "val", "test": "test"}


@chz.chz
class Jester(Dataset):
    """`jester-v1-train.csv`, `jester-v1-validation.csv`, `jester-v1-test.csv`: `9223;Thumb Up` or `109621`."""

    name: ClassVar[str] = "jester"

    def read(self, files: Sequence[Path]) -> list[Item]:
        items = []
        pattern = r"jester-v1-(train|validation|test)\.csv"
        for match, path in self.pick(files, pattern, "jester-v1-train.csv or jester-v1-validation.csv"):
            for line in lines_of(path):
                number, _, label = line.replace(",", ";", 1).partition(";")  # copies of it come with commas
                if not number.isdigit() or (not label and match[1] != "test"):
                    raise self.wrong(path, line)
                items.append(Item(file=number, split=SPLITS[match[1]], label=label or None))
        return items
