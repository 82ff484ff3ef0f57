"""What a search found: clips by falling similarity, and a contact sheet of their middle frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tubelet.corpus.table import Video
from tubelet.escape import one_line
from tubelet.evaluations.pictures import middle_frame
from tubelet.files import writing

COLUMNS, TILE, MARGIN, LINE = 4, 224, 12, 17
INK, GREY = (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Hit:
    """One clip, the nearest first."""

    video: Video
    score: float  # cosine


def draw(text: str, hits: Sequence[Hit], path: Path) -> None:
    """The middle frames of the hits, four a row, each with its score and its name, as a PNG."""
    title, small = ImageFont.load_default(18), ImageFont.load_default(13)
    rows = -(-len(hits) // COLUMNS)
    top, cell = MARGIN + 34, TILE + 2 * LINE + MARGIN
    sheet = Image.new("RGB", (MARGIN + COLUMNS * (TILE + MARGIN), top + rows * cell + MARGIN), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), one_line(text), INK, title)
    for place, hit in enumerate(hits):
        left, high = MARGIN + place % COLUMNS * (TILE + MARGIN), top + place // COLUMNS * cell
        frame = middle_frame(hit.video)
        if frame is not None:
            sheet.paste(Image.fromarray(frame).resize((TILE, TILE), Image.Resampling.BICUBIC), (left, high))
        label = "".join(f"   {one_line(word)}" for word in (hit.video.split, hit.video.label) if word)
        said = f"{place + 1}   {hit.score:.3f}{label}"
        while small.getlength(said) > TILE:
            said = f"{said[:-2]}…"
        pen.text((left, high + TILE + 3), said, INK, small)
        pen.text((left, high + TILE + 3 + LINE), shortened(one_line(hit.video.id), small), GREY, small)
    with writing(path) as part:
        sheet.save(part, format="PNG", optimize=True)


def shortened(name: str, font: Any) -> str:
    """The end of a name that is too long for a tile."""
    if font.getlength(name) <= TILE:
        return name
    while name and font.getlength("..." + name) > TILE:
        name = name[1:]
    return "..." + name
