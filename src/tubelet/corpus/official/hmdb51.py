"""HMDB51 (Kuehne et al., ICCV 2011): 6,766 clips of 51 classes; each split takes 70 training and 30 test clips a class.

The others are marked 0: they keep a row in the split `unused`. Clips of one recording share a group.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import chz

from tubelet.corpus.official.base import Dataset, Item, lines_of
from tubelet.corpus.overlap import UNUSED

SPLITS = {"0": UNUSED, "1": "train", "2": "test"}


@chz.chz
class Hmdb51(Dataset):
    """`brush_hair_test_split1.txt` and 50 more a split: a line is `April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1`."""

    name: ClassVar[str] = "hmdb51"
    split: Literal["1", "2", "3"] = chz.field(default="1", doc="which of the three official splits")

    def read(self, files: Sequence[Path]) -> list[Item]:
        items = []
        pattern = rf"(.+)_test_split{self.split}\.txt"
        for match, path in self.pick(files, pattern, f"CLASS_test_split{self.split}.txt"):
            label = match[1]
            for line in lines_of(path):
                file, _, mark = line.rpartition(" ")
                if mark not in SPLITS or not file.endswith(".avi"):
                    raise self.wrong(path, line)
                items.append(
                    Item(file=f"{label}/{file}", split=SPLITS[mark], label=label, group=recording(file.strip()))
                )
        return items


def recording(file: str) -> str:
    """The name without what is said of the single clip: body part, camera, people, side, quality and number."""
    return re.sub(r"_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+\.avi$", "", file)
