"""The contact sheet of `tubelet masks`: a clip a row, a masker a column, four time steps of the clip in each picture.

The time steps read like text, left to right and down. Hidden tubelets are dark.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from tubelet.checksums import write_json
from tubelet.contact_sheet import Row, draw, resized, wrapped
from tubelet.diagnostics.mask_measures import Measured, Picture
from tubelet.log import versions
from tubelet.runs.hardware import hardware

TILE = 84  # pixels of a time step
GAP = 2
SIDE = 2 * TILE + GAP
HIDDEN = np.array([38, 42, 54], np.float32)
LEFT = 0.12  # share of a hidden tubelet's own colour that is left, to show what is hidden


def write_masks(measured: Measured, folder: str | Path) -> tuple[Path, Path]:
    """masks.json, all figures with the machine they were measured on, and masks.png, the contact sheet."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "masks.json", folder / "masks.png"
    write_json(files[0], {"hardware": hardware(), "versions": versions(), **measured.as_json()})
    write_sheet(measured, files[1])
    return files


def write_sheet(measured: Measured, path: Path) -> None:
    """Draws the clips that were kept for it, as a PNG."""
    names = list(measured.fixed)
    labels = [wrapped(name, SIDE) for name in names]
    header = [["the clip", "4 time steps"]]
    header += [
        [*lines, f"{measured.fixed[name]['hidden']:.0%} hidden"] for name, lines in zip(names, labels, strict=True)
    ]
    draw([row(picture, names) for picture in measured.pictures], path, header)


def row(picture: Picture, names: list[str]) -> Row:
    about = [picture.video, f"{picture.camera} camera" if picture.camera else "", picture.caption]
    hidden = [None, *(picture.hidden[name] for name in names)]
    return Row([four(masked(picture, flags)) for flags in hidden], "   ".join(filter(None, about)))


def masked(picture: Picture, hidden: Bool[np.ndarray, "s rows columns"] | None) -> UInt8[np.ndarray, "s h w 3"]:
    """The time steps at the size of a tile, what is hidden dark."""
    frames = np.stack([resized(frame, TILE, TILE) for frame in picture.frames])
    if hidden is None:
        return frames
    flags = np.stack([resized(np.uint8(255) * step, TILE, TILE, Image.Resampling.NEAREST) for step in hidden]) > 0
    dark = (LEFT * frames + (1 - LEFT) * HIDDEN).astype(np.uint8)
    return np.where(flags[..., None], dark, frames)


def four(tiles: UInt8[np.ndarray, "s h w 3"]) -> UInt8[np.ndarray, "side side 3"]:
    """Up to four tiles, two by two."""
    paper = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        down, across = (TILE + GAP) * (number // 2), (TILE + GAP) * (number % 2)
        paper[down : down + TILE, across : across + TILE] = tile
    return paper
