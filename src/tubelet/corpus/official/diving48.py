"""Diving48 v2 (Li, Li and Vasconcelos, ECCV 2018; labels cleaned by its authors in 2020): 48 sequences of a dive.

The group is the competition's recording. The official split draws single dives, so most recordings lie on both sides of
it; indexing says so.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import chz

from tubelet.corpus.official.base import Dataset, Item, json_of


@chz.chz
class Diving48(Dataset):
    """`Diving48_V2_train.json`, `Diving48_V2_test.json`: `{"vid_name": "-mmq0PT-u8k_00155", "label": 0, ...}`.

    `Diving48_vocab.json` names the classes by takeoff, somersaults, twists and position; without it they are numbers.
    """

    name: ClassVar[str] = "diving48"

    def read(self, files: Sequence[Path]) -> list[Item]:
        names: list[str] = []
        for path in files:
            if path.name == "Diving48_vocab.json":
                names = [" ".join(parts) for parts in json_of(path)]
        items = []
        for match, path in self.pick(files, r"Diving48_V2_(train|test)\.json", "Diving48_V2_train.json"):
            for line in json_of(path):
                try:
                    file, number = str(line["vid_name"]), int(line["label"])
                    label = names[number] if names else str(number)
                except (KeyError, TypeError, IndexError):
                    raise self.wrong(path, line) from None
                items.append(Item(file=file, split=match[1], label=label, group=file.rpartition("_")[0]))
        return items
