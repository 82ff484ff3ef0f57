"""What a search found: clips by falling similarity, and a contact sheet of their middle frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tubelet import contact_sheet as sheets
from tubelet.contact_sheet import Row, resized
from tubelet.corpus.schema import Video
from tubelet.evaluations.pictures import middle_frame

COLUMNS, TILE = 4, 224  # pixels of a tile


@dataclass(frozen=True)
class Hit:
    """One clip, the nearest first."""

    video: Video
    score: float  # cosine


def draw_hits(text: str, hits: Sequence[Hit], path: Path) -> None:
    """The middle frames of the hits, four a row, each with its score and its name, as a PNG."""
    rows = [Row([None], text)]
    for start in range(0, len(hits), COLUMNS):
        some = list(enumerate(hits[start : start + COLUMNS], start + 1))
        pictures = [
            None if (frame := middle_frame(hit.video)) is None else resized(frame, TILE, TILE) for _, hit in some
        ]
        rows.append(Row(pictures, below=[caption_lines(number, hit) for number, hit in some]))
    sheets.draw(rows, path)


def caption_lines(number: int, hit: Hit) -> list[str]:
    """What stands below the picture of a hit."""
    return ["   ".join(filter(None, (str(number), f"{hit.score:.3f}", hit.video.split, hit.video.label))), hit.video.id]
