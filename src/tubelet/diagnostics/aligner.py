"""What the training of an aligner came to: how well its maps find what is known, and what they look like.

`training.json` and `maps.jpg` in the aligner's folder hold it; `tubelet.report.aligner` makes the page of them. The
pictures are of held-out videos where there are some. Start reading at `write_training`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from tubelet.aligners import Aligner
from tubelet.aligners.config import AlignerTraining
from tubelet.aligners.examples import evenly_spaced
from tubelet.aligners.training import Curve
from tubelet.checksums import write_json
from tubelet.corpus.table import Corpus, Video, normalise_text
from tubelet.diagnostics.maps import check, plain
from tubelet.diagnostics.sheet import shortened
from tubelet.errors import VideoError
from tubelet.escape import one_line
from tubelet.files import writing
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.text import embed_texts, similarity_maps
from tubelet.video.limits import limits, within
from tubelet.video.reader import open_reader

MEASURED = 100  # clips of which the ROC area is taken, every eighth frame
VIDEOS, FRAMES = 6, 6  # of the picture
TALL, WIDEST, GAP, MARGIN, LINE = 88, 160, 3, 10, 18
INK, GREY, PAPER = (20, 20, 20), (100, 100, 100), (255, 255, 255)


@dataclass(frozen=True)
class Seen:
    """A video with the map of its own caption and of another video's."""

    video: Video
    caption: str
    other: str
    frames: list[UInt8[np.ndarray, "h w 3"]]
    maps: Float32[np.ndarray, "2 t gh gw"]


def write_training(
    folder: Path,
    corpus: Corpus,
    aligner: Aligner,
    curve: Curve,
    settings: AlignerTraining,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Writes both files and returns what `training.json` says."""
    captioned = {split: with_captions(corpus, split, settings) for split in ("test", "train")}
    areas = None
    if "synth" in corpus.about and len({text for _, text in captioned["test"]}) > 1:
        source = settings.sources[0] if settings.sources else "subject" if "subject" in corpus.sources else None
        found = check(corpus, aligner, source, "test", every=8, most=MEASURED, pictures=0, progress=progress)
        areas = {"clips": len(found.videos), "source": source, "rows": plain(found.table())}
    split = "test" if captioned["test"] else "train"
    shown = look_at_some(captioned[split], captioned["test"] + captioned["train"], aligner)
    if shown:
        with writing(folder / "maps.jpg") as part:
            sheet(shown).save(part, format="JPEG", quality=84, optimize=True)
    told = {
        "curve": curve.rows,
        "best": curve.best,
        "areas": areas,
        "pictures": {"split": split, "videos": [one.video.id for one in shown]},
    }
    write_json(folder / "training.json", told)
    return told


def with_captions(corpus: Corpus, split: str, settings: AlignerTraining) -> list[tuple[Video, str]]:
    """The videos of a split with the first caption of each."""
    found = []
    for video in corpus.select(split):
        captions = [c for c in corpus.captions_of(video) if not settings.sources or c.source in settings.sources]
        if texts := [text for caption in captions if (text := normalise_text(caption.text))]:
            found.append((video, texts[0]))
    return found


def look_at_some(some: Sequence[tuple[Video, str]], every: Sequence[tuple[Video, str]], aligner: Aligner) -> list[Seen]:
    """Evenly spaced videos, each beside the caption of the next one that says something else."""
    shown = []
    for place in np.unique(np.linspace(0, len(some) - 1, min(VIDEOS, len(some))).astype(int)):
        video, caption = some[place]
        others = [text for _, text in [*some[place + 1 :], *some[:place], *every] if text != caption]
        other = others[0] if others else caption
        try:
            frames = within(limits(), partial(some_frames, video))
        except VideoError:
            continue
        vectors = embed_texts(aligner, sorted({caption, other}))
        both = similarity_maps(aligner, np.stack(frames), np.stack([vectors[caption], vectors[other]]))
        shown.append(Seen(video, caption, other, frames, both))
    return shown


def some_frames(video: Video) -> list[UInt8[np.ndarray, "h w 3"]]:
    with open_reader(video.path, video.start, video.end, reading=video.reading) as reader:
        return list(reader.frames(evenly_spaced(reader.times, FRAMES)))


def sheet(shown: Sequence[Seen]) -> Image.Image:
    """A block a video: its frames, the map of its caption, and the map of another's on the same scale."""
    font = ImageFont.load_default(13)
    wide = [fitted(one.frames[0])[0] for one in shown]
    width = 2 * MARGIN + max(len(one.frames) * (w + GAP) for one, w in zip(shown, wide, strict=True))
    block = 3 * (LINE + TALL) + MARGIN
    page = Image.new("RGB", (width, MARGIN + block * len(shown)), PAPER)
    pen = ImageDraw.Draw(page)
    for number, one in enumerate(shown):
        low, high = np.quantile(one.maps, [0.02, 0.98])
        rows = [
            (f"{one.video.id}", [fit(frame) for frame in one.frames]),
            (f"“{one.caption}”", [overlay(*pair, low, high) for pair in zip(one.frames, one.maps[0], strict=True)]),
            (
                f"of another video: “{one.other}”",
                [overlay(*pair, low, high) for pair in zip(one.frames, one.maps[1], strict=True)],
            ),
        ]
        for row, (title, tiles) in enumerate(rows):
            top = MARGIN + number * block + row * (LINE + TALL)
            pen.text(
                (MARGIN, top), shortened(one_line(title), font, width - 2 * MARGIN), INK if row < 2 else GREY, font
            )
            for column, tile in enumerate(tiles):
                page.paste(Image.fromarray(tile), (MARGIN + column * (wide[number] + GAP), top + LINE))
    return page


def fitted(frame: UInt8[np.ndarray, "h w 3"]) -> tuple[int, int]:
    """Width and height of a tile."""
    height, width = frame.shape[:2]
    return min(max(round(TALL * width / height), 8), WIDEST), TALL


def fit(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    return np.asarray(Image.fromarray(frame).resize(fitted(frame), Image.Resampling.BICUBIC))


def overlay(
    frame: UInt8[np.ndarray, "h w 3"], layer: Float32[np.ndarray, "gh gw"], low: float, high: float
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The map in colour over the frame in grey."""
    from matplotlib import colormaps

    scaled = np.clip((layer - low) / max(high - low, 1e-9), 0, 1).astype(np.float32)
    smooth = np.asarray(Image.fromarray(scaled).resize(fitted(frame), Image.Resampling.BILINEAR))
    colour, grey = colormaps["inferno"](smooth)[..., :3], fit(frame).mean(-1, keepdims=True) / 255
    return np.rint((0.62 * colour + 0.38 * grey) * 255).astype(np.uint8)
