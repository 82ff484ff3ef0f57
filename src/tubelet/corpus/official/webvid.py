"""WebVid and tables like it (Bain et al., ICCV 2021): a video and the sentence that its seller wrote, in millions.

The videos themselves are not handed out any more; whoever has them, or a set of his own in this format, indexes it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import chz

from tubelet.corpus.official.base import Dataset, Item, has_columns, rows_of
from tubelet.errors import CorpusError


@chz.chz
class WebVid(Dataset):
    """`results_2M_train.csv`, `results_2M_val.csv`: columns `videoid`, `name` (the caption) and `page_dir`."""

    name: ClassVar[str] = "webvid"
    source: ClassVar[str] = "alt-text"

    def read(self, files: Sequence[Path]) -> list[Item]:
        tables = [path for path in files if path.suffix == ".csv" and has_columns(path, "videoid", "name")]
        if not tables:
            raise CorpusError(f"{self.name} needs tables with the columns videoid and name, as results_2M_val.csv")
        items = []
        for path in tables:
            said = re.search(r"(?:^|_)(train|val)(?:_|\.)", path.name)
            for row in rows_of(path, "videoid", "name"):
                index = f"{row['page_dir']}/" if row.get("page_dir") else ""
                items.append(
                    Item(
                        file=f"{index}{row['videoid']}.mp4",
                        split=said[1] if said else None,
                        captions=(row["name"].strip(),) if row["name"].strip() else (),
                    )
                )
        return items
