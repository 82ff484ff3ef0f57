"""How good the maps of a trained aligner are: their ROC area where ground truth is known, and heat maps.

`training.json` and `maps.jpg` in the aligner's folder have them; `tubelet.reports.aligner` makes the page. The pictures
are of held-out videos where there are some. Start reading at `write_training`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from tubelet.aligners.base import Aligner
from tubelet.aligners.config import AlignerTraining
from tubelet.aligners.examples import evenly_spaced
from tubelet.aligners.training import Curve
from tubelet.checksums import plain, write_json
from tubelet.contact_sheet import Row, draw, fitted, heat
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.diagnostics.maps import measure_aligner
from tubelet.errors import VideoError
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.text import embed_texts, similarity_maps
from tubelet.synthetic import has_truth
from tubelet.video.limits import limits, within
from tubelet.video.reader import open_reader

MEASURED = 100  # clips of which the ROC area is taken, every eighth frame
VIDEOS, FRAMES = 6, 6  # of the picture
TALL, WIDEST = 88, 160  # pixels of a picture


@dataclass(frozen=True)
class HeatedVideo:
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
    if has_truth(corpus) and len({text for _, text in captioned["test"]}) > 1:
        source = settings.sources[0] if settings.sources else "subject" if "subject" in corpus.sources else None
        found = measure_aligner(corpus, aligner, source, "test", every=8, most=MEASURED, pictures=0, progress=progress)
        areas = {"clips": len(found.videos), "source": source, "rows": plain(found.table())}
    split = "test" if captioned["test"] else "train"
    shown = decode_some(captioned[split], captioned["test"] + captioned["train"], aligner)
    if shown:
        draw([row for one in shown for row in rows(one)], folder / "maps.jpg", gap=3)
    training = {
        "curve": curve.rows,
        "best": curve.best,
        "areas": areas,
        "pictures": {"split": split, "videos": [one.video.id for one in shown]},
    }
    write_json(folder / "training.json", training)
    return training


def with_captions(corpus: Corpus, split: str, settings: AlignerTraining) -> list[tuple[Video, str]]:
    """The videos of a split with the first caption of each."""
    found = []
    for video in corpus.select(split):
        captions = [c for c in corpus.captions_of(video) if not settings.sources or c.source in settings.sources]
        if texts := [text for caption in captions if (text := normalise_text(caption.text))]:
            found.append((video, texts[0]))
    return found


def decode_some(
    some: Sequence[tuple[Video, str]], every: Sequence[tuple[Video, str]], aligner: Aligner
) -> list[HeatedVideo]:
    """Evenly spaced videos, each next to the caption of the next video with another caption."""
    shown = []
    for index in np.unique(np.linspace(0, len(some) - 1, min(VIDEOS, len(some))).astype(int)):
        video, caption = some[index]
        others = [text for _, text in [*some[index + 1 :], *some[:index], *every] if text != caption]
        other = others[0] if others else caption
        try:
            frames = within(limits(), partial(some_frames, video))
        except VideoError:
            continue
        vectors = embed_texts(aligner, sorted({caption, other}))
        both = similarity_maps(aligner, np.stack(frames), np.stack([vectors[caption], vectors[other]]))
        shown.append(HeatedVideo(video, caption, other, frames, both))
    return shown


def some_frames(video: Video) -> list[UInt8[np.ndarray, "h w 3"]]:
    with open_reader(video.path, video.start, video.end, reading=video.reading) as reader:
        return list(reader.frames(evenly_spaced(reader.times, FRAMES)))


def rows(one: HeatedVideo) -> list[Row]:
    """A video: its frames, the map of its caption, and the map of another video's caption on the same scale."""
    low, high = np.quantile(one.maps, [0.02, 0.98])
    frames = [fitted(frame, TALL, WIDEST) for frame in one.frames]
    own, other = (
        [heat(frame, layer, low, high) for frame, layer in zip(frames, layers, strict=True)] for layers in one.maps
    )
    return [
        Row(frames, one.video.id),
        Row(own, f"“{one.caption}”"),
        Row(other, f"of another video: “{one.other}”", grey=True),
    ]
