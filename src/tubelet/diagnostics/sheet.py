"""The contact sheet of `tubelet masks`: a clip a row, a masker a column, four slots of the clip in every cell.

The slots of a cell read like text, left to right and down. Hidden tubelets are dark.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from tubelet.diagnostics.masks import Measured, Picture
from tubelet.escape import one_line
from tubelet.files import writing

TILE = 84  # pixels of a slot
GAP = 2
CELL = 2 * TILE + GAP
MARGIN = 12
HIDDEN = np.array([38, 42, 54], np.float32)
LEFT = 0.12  # share of a hidden tubelet's own colour that is left, to tell what is hidden
INK, GREY = (20, 20, 20), (110, 110, 110)
FONT, SMALL = 15, 13


def write_sheet(measured: Measured, path: Path) -> None:
    """Draws the clips that were kept for it, as a PNG."""
    names = list(measured.fixed)
    font, small = ImageFont.load_default(FONT), ImageFont.load_default(SMALL)
    headers = [wrapped(name.split(), font) for name in ("the clip", *names)]
    top = MARGIN + (FONT + 4) * max(map(len, headers)) + SMALL + 8
    line = SMALL + 8 + CELL + MARGIN
    size = MARGIN + (CELL + MARGIN) * (len(names) + 1), top + line * len(measured.pictures)
    sheet = Image.new("RGB", size, (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for column, header in enumerate(headers):
        left = MARGIN + column * (CELL + MARGIN)
        for number, words in enumerate(header):
            pen.text((left, MARGIN + number * (FONT + 4)), words, INK, font)
        share = f"{measured.fixed[names[column - 1]]['chance']:.0%} hidden" if column else "4 of its slots"
        pen.text((left, top - SMALL - 8), share, GREY, small)
    for row, picture in enumerate(measured.pictures):
        begin = top + row * line
        about = [picture.video, f"{picture.camera} camera" if picture.camera else "", picture.caption]
        pen.text(
            (MARGIN, begin),
            shortened(one_line("   ".join(filter(None, about))), small, size[0] - 2 * MARGIN),
            INK,
            small,
        )
        for column, name in enumerate((None, *names)):
            tiles = masked(picture, None if name is None else picture.hidden[name])
            sheet.paste(Image.fromarray(cell(tiles)), (MARGIN + column * (CELL + MARGIN), begin + SMALL + 8))
    with writing(path) as part:
        sheet.save(part, format="PNG", optimize=True)


def masked(picture: Picture, hidden: Bool[np.ndarray, "s rows columns"] | None) -> UInt8[np.ndarray, "s h w 3"]:
    """The slots at the size of a tile, what is hidden dark."""
    frames = np.stack([resized(frame, TILE, Image.Resampling.BICUBIC) for frame in picture.frames])
    if hidden is None:
        return frames
    flags = np.stack([resized(np.uint8(255) * slot, TILE, Image.Resampling.NEAREST) for slot in hidden]) > 0
    dark = (LEFT * frames + (1 - LEFT) * HIDDEN).astype(np.uint8)
    return np.where(flags[..., None], dark, frames)


def cell(tiles: UInt8[np.ndarray, "s h w 3"]) -> UInt8[np.ndarray, "side side 3"]:
    """Up to four tiles, two by two."""
    paper = np.full((CELL, CELL, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        down, across = (TILE + GAP) * (number // 2), (TILE + GAP) * (number % 2)
        paper[down : down + TILE, across : across + TILE] = tile
    return paper


def resized(values: UInt8[np.ndarray, "h w *c"], side: int, how: Image.Resampling) -> UInt8[np.ndarray, "side side *c"]:
    return np.asarray(Image.fromarray(values).resize((side, side), how))


def wrapped(words: Sequence[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """As many lines as it takes to stay in a cell."""
    lines = [words[0]]
    for word in words[1:]:
        longer = f"{lines[-1]} {word}"
        if font.getlength(longer) <= CELL:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The beginning of a text that is too long for so many pixels."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2] + "…"
    return text
