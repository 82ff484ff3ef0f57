"""UCF101 (Soomro et al., arXiv 1212.0402): 13,320 clips of 101 classes in 25 groups a class, three official splits."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import chz

from tubelet.corpus.official.base import Dataset, Item, lines_of


@chz.chz
class Ucf101(Dataset):
    """`trainlist01.txt`, `testlist01.txt`: a line is `Archery/v_Archery_g08_c01.avi 3`, in test without the number."""

    name: ClassVar[str] = "ucf101"
    split: Literal["1", "2", "3"] = chz.field(default="1", doc="which of the three official splits")

    def read(self, files: Sequence[Path]) -> list[Item]:
        items = []
        for split in ("train", "test"):
            name = f"{split}list0{self.split}.txt"
            for _, path in self.pick(files, re.escape(name), name):
                for line in lines_of(path):
                    match = re.match(r"((\w+)/(\w+_g\d+)_c\d+\.avi)(\s|$)", line)
                    if match is None:
                        raise self.wrong(path, line)
                    items.append(Item(file=match[1], split=split, label=match[2], group=match[3]))
        return items
