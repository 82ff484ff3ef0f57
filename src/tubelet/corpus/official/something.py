"""Something-Something v2 (Goyal et al., ICCV 2017): 220,847 clips of 174 templates. Left and right are classes.

The text that the actor filled in ("holding potato next to ...") is a caption, and it names its label. Results are
reported on validation; the labels of test came later, in `test-answers.csv`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import chz

from tubelet.corpus.official.base import Dataset, Item, json_of, lines_of

SPLITS = {"train": "train", "validation": "val", "test": "test"}


@chz.chz
class SomethingSomething(Dataset):
    """`train.json`, `validation.json`, `test.json`, also with `something-something-v2-` in front."""

    name: ClassVar[str] = "ssv2"
    source: ClassVar[str] = "annotation"

    def read(self, files: Sequence[Path]) -> list[Item]:
        answers: dict[str, str] = {}
        for path in files:
            if path.name.endswith("test-answers.csv"):
                split = (line.partition(";") for line in lines_of(path))
                answers.update({number: label for number, _, label in split})
        items = []
        pattern = r"(?:something-something-v2-)?(train|validation|test)\.json"
        for match, path in self.pick(files, pattern, "train.json or validation.json"):
            for line in json_of(path):
                if not isinstance(line, dict) or "id" not in line:
                    raise self.wrong(path, line)
                number = str(line["id"])
                label = without_brackets(line["template"]) if "template" in line else answers.get(number)
                captions = (str(line["label"]),) if "label" in line else ()
                items.append(Item(file=number, split=SPLITS[match[1]], label=label, captions=captions))
        return items


def without_brackets(template: str) -> str:
    """`Holding [something] next to [something]` as the list of labels writes it."""
    return re.sub(r"[\[\]]", "", template)
