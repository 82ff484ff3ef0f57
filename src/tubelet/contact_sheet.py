"""Contact sheets: rows of pictures, each with a title, headers above columns and lines below pictures, as one image.

Start reading at `draw`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from tubelet.escape import one_line
from tubelet.files import writing

Picture = UInt8[np.ndarray, "h w 3"]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
MARGIN = 12
INK, GREY, PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)
SIZE = 12  # pixels of the text
LINE = SIZE + 5


@dataclass(frozen=True)
class Row:
    """Pictures of one height; None leaves a cell empty. `below` has the lines under each picture, the last in grey."""

    pictures: Sequence[Picture | None]
    title: str = ""
    below: Sequence[Sequence[str]] = ()
    grey: bool = False  # the title


def draw(rows: Sequence[Row], path: Path, header: Sequence[Sequence[str]] = (), gap: int = MARGIN) -> None:
    """Writes the sheet as JPEG or PNG, by the ending of its name; `header` has the lines above each column."""
    with writing(path) as part:
        image = sheet(rows, header, gap)
        if path.suffix in (".jpg", ".jpeg"):
            image.save(part, format="JPEG", quality=84, optimize=True)
        else:
            image.save(part, format="PNG", optimize=True)


def sheet(rows: Sequence[Row], header: Sequence[Sequence[str]] = (), gap: int = MARGIN) -> Image.Image:
    font = text_font()
    wide = max((width(row) for row in rows), default=1)
    columns = max((len(row.pictures) for row in rows), default=1)
    top = MARGIN + LINE * max(map(len, header), default=0)
    blocks = [LINE * bool(row.title) + height(row) + LINE * max(map(len, row.below), default=0) + gap for row in rows]
    size = 2 * MARGIN + columns * wide + (columns - 1) * gap, top + sum(blocks) + MARGIN - gap * bool(rows)
    page = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(page)
    for column, lines in enumerate(header):
        for number, line in enumerate(lines):
            at = MARGIN + column * (wide + gap), MARGIN + number * LINE
            pen.text(at, shorten(line, font, wide), INK, font)
    for row, block in zip(rows, blocks, strict=True):
        if row.title:
            pen.text(
                (MARGIN, top), shorten(one_line(row.title), font, size[0] - 2 * MARGIN), GREY if row.grey else INK, font
            )
        below = top + LINE * bool(row.title) + height(row)
        for column, (picture, lines) in enumerate(zip_longest(row.pictures, row.below)):
            left = MARGIN + column * (wide + gap)
            if picture is not None:
                page.paste(Image.fromarray(picture), (left, below - height(row)))
            for number, line in enumerate(lines or ()):
                ink = GREY if 0 < number == len(lines or ()) - 1 else INK
                pen.text((left, below + 3 + number * LINE), shorten(one_line(line), font, wide), ink, font)
        top += block
    return page


def width(row: Row) -> int:
    return max((picture.shape[1] for picture in row.pictures if picture is not None), default=1)


def height(row: Row) -> int:
    return max((picture.shape[0] for picture in row.pictures if picture is not None), default=0)


@lru_cache(maxsize=1)
def text_font() -> Font:
    """DejaVu Sans, which comes with matplotlib: it has Latin, Greek and Cyrillic letters."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", SIZE)


def shorten(text: str, font: Font, most: int) -> str:
    """As much of the text as fits into `most` pixels, the middle left out."""
    if len(text) <= 4 * most and font.getlength(text) <= most:
        return text
    text = text[: 4 * most]
    kept = len(text)
    while kept > 1 and font.getlength(elided(text, kept)) > most:
        kept -= 1
    return elided(text, kept)


def elided(text: str, kept: int) -> str:
    """`kept` characters, two thirds of them from the beginning."""
    end = kept // 3
    return text[: kept - end] + "…" + (text[-end:] if end else "")


def wrapped(text: str, most: int) -> list[str]:
    """Lines of words that fit into `most` pixels."""
    lines: list[str] = []
    for word in one_line(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_font().getlength(longer) <= most:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def fitted(frame: Picture, tall: int, widest: int) -> UInt8[np.ndarray, "{tall} width 3"]:
    """Resized to this height, at most so wide."""
    return resized(frame, tall, min(max(round(tall * frame.shape[1] / frame.shape[0]), 8), widest))


def resized(frame: np.ndarray, rows: int, columns: int, how: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((columns, rows), how))


def heat(frame: Picture, layer: Float32[np.ndarray, "gh gw"], low: float, high: float) -> Picture:
    """A map in colour, from low (dark) to high (bright), over the frame in grey."""
    from matplotlib import colormaps

    scaled = np.clip((layer - low) / max(high - low, 1e-9), 0, 1).astype(np.float32)
    smooth = resized(scaled, frame.shape[0], frame.shape[1], Image.Resampling.BILINEAR)
    colour, grey = colormaps["inferno"](smooth)[..., :3], frame.mean(-1, keepdims=True) / 255
    return np.rint((0.62 * colour + 0.38 * grey) * 255).astype(np.uint8)
