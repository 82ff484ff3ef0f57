"""MSR-VTT (Xu et al., CVPR 2016): 10,000 clips with 20 captions each, in 20 categories.

Two splits are in use: the official one, and "1k-A" of JSFusion (Yu et al., ECCV 2018), on which retrieval is reported:
1,000 test clips with one caption each, the other 9,000 for training.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import chz

from tubelet.corpus.official.base import Dataset, Item, json_of, lines_of, rows_of
from tubelet.errors import CorpusError

SPLITS = {"train": "train", "validate": "val", "test": "test"}
FIRST_A = r".*JSFUSION_test\.csv"


@chz.chz
class MsrVtt(Dataset):
    """`train_val_videodatainfo.json`, `test_videodatainfo.json`, `category.txt`; `MSRVTT_JSFUSION_test.csv`."""

    name: ClassVar[str] = "msrvtt"
    split: Literal["official", "1k-A"] = chz.field(default="official", doc="the official one, or 1k-A for retrieval")

    def read(self, files: Sequence[Path]) -> list[Item]:
        categories: dict[int, str] = {}
        for path in files:
            if path.name == "category.txt":
                named = (line.rpartition("\t") for line in lines_of(path))
                categories = {int(number): name for name, _, number in named}
        videos: dict[str, dict[str, Any]] = {}
        captions: dict[str, list[str]] = {}
        pattern = r".*videodatainfo.*\.json|MSRVTT_data\.json"
        for _, path in self.pick(files, pattern, "train_val_videodatainfo.json or test_videodatainfo.json"):
            content = json_of(path)
            try:
                videos.update({video["video_id"]: video for video in content["videos"]})
                for sentence in content["sentences"]:
                    captions.setdefault(sentence["video_id"], []).append(sentence["caption"])
            except (KeyError, TypeError):
                raise self.wrong(path, list(content)) from None
        chosen = self.first_a(files) if self.split == "1k-A" else {}
        if lacking := chosen.keys() - videos.keys():
            raise CorpusError(
                f"{len(lacking)} test videos of 1k-A (first: {min(lacking)}) are in none of the JSON files; "
                "name test_videodatainfo.json too"
            )
        items = []
        for file, video in videos.items():
            texts = captions.get(file, [])
            split = SPLITS[video["split"]]
            if chosen:
                split, texts = ("test", chosen[file]) if file in chosen else ("train", texts)
            number = int(video["category"]) if "category" in video else None
            label = None if number is None else categories.get(number, str(number))
            items.append(
                Item(file=file, split=split, label=label, group=video.get("url") or file, captions=tuple(texts))
            )
        return items

    def first_a(self, files: Sequence[Path]) -> dict[str, list[str]]:
        """The test videos of 1k-A, each with its one caption."""
        found: dict[str, list[str]] = {}
        for _, path in self.pick(files, FIRST_A, "MSRVTT_JSFUSION_test.csv"):
            for row in rows_of(path, "video_id", "sentence"):
                found.setdefault(row["video_id"], []).append(row["sentence"])
        return found
