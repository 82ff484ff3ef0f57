"""Kinetics-400, 600, 700 (Kay et al., arXiv 1705.06950; Carreira et al., 1808.01340, 1907.06987): ten seconds each.

The group is the video on YouTube that a clip was cut from. Results are reported on validation. Clips that are gone from
the network keep their row, as `missing`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import chz

from tubelet.corpus.official.base import Dataset, Item, has_columns, rows_of
from tubelet.errors import CorpusError

SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
COLUMNS = ("youtube_id", "time_start", "time_end", "split")


@chz.chz
class Kinetics(Dataset):
    """Tables with `label,youtube_id,time_start,time_end,split`; the test table may lack labels.

    Files are named as the official crawler names them: `abseiling/0wR5jVB-WPk_000417_000427.mp4`.
    """

    name: ClassVar[str] = "kinetics"

    def read(self, files: Sequence[Path]) -> list[Item]:
        tables = [path for path in files if path.suffix == ".csv" and has_columns(path, *COLUMNS)]
        if not tables:
            raise CorpusError(f"{self.name} needs tables with the columns {', '.join(COLUMNS)}, such as train.csv")
        items = []
        for path in tables:
            for row in rows_of(path, *COLUMNS):
                try:
                    span = "_".join(f"{int(float(row[name])):06d}" for name in ("time_start", "time_end"))
                    split = SPLITS[row["split"]]
                except (KeyError, ValueError):
                    raise self.wrong(path, ",".join(row.values())) from None
                label = row.get("label") or None
                file = f"{label or split}/{row['youtube_id']}_{span}.mp4"
                items.append(Item(file=file, split=split, label=label, group=row["youtube_id"]))
        return items
