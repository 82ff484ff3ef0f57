"""Text: the cosine similarity of every patch of every frame with the captions of its video.

A video is decoded once and its patches are embedded once; each further caption costs one small matrix product. Caption
embeddings are stored too. Start reading at `Text`, or at `fill_text` for an aligner of your own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import chz
import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8

from tubelet.aligners.base import Aligner, open_aligner, similarity
from tubelet.aligners.unknown_words import caption_notes
from tubelet.corpus.captions import exchanged
from tubelet.corpus.schema import Caption, Video
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.errors import CorpusError, RecipeError, VideoError
from tubelet.jobs.runner import Work
from tubelet.jobs.tasks import Task, share
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.base import Filled, Map, Running, Source, fill_maps, task_of
from tubelet.saliency_maps.frames import Frames, decode_piece, pieces
from tubelet.stores.embeddings import EmbeddingsWriter
from tubelet.stores.maps import MapsWriter

NAME = "text"

Rate = float | Literal["all"] | None
Vector = Float32[np.ndarray, "e"]
Part = tuple[Float32[np.ndarray, "c t gh gw"], Float64[np.ndarray, "t"]]


@chz.chz
class Text(Source):
    """Similarity of each patch to each caption, by an aligner; caption embeddings too."""

    maps: ClassVar[tuple[str, ...]] = (NAME,)

    aligner: str | None = chz.field(
        default=None, doc="an aligner's folder, or the folder or hub name of a CLIP or SigLIP (None: CORPUS/aligner)"
    )
    reading: Literal["dense", "upsample", "crop"] = chz.field(
        default="dense",
        doc="of CLIP: dense, the frame enlarged until its tokens make the grid; upsample, tokens at its own size, "
        "interpolated; crop, every patch encoded as an image (slow)",
    )
    scorer: Literal["raw", "value", "surgery"] = chz.field(
        default="raw",
        doc="of CLIP: tokens that are scored; value, the last block's value path (MaskCLIP); surgery, value-value "
        "attention (CLIP Surgery)",
    )
    sources: tuple[str, ...] = chz.field(default=(), doc="caption sources to use, by commas (none given: all)")
    shuffled_captions: bool = chz.field(
        default=False, doc="captions of another video too, for the control data.captions.shuffled=True"
    )
    rate: Rate = chz.field(default=None, doc="maps per second, or all frames (None: 4; all of the synthetic dataset)")

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        rate = maps_per_second(self.rate, corpus)
        captioned(corpus, self.sources)
        aligner = aligner_of(corpus, self.aligner, self.reading, self.scorer)
        return fill_text(corpus, aligner, rate, self.sources, self.shuffled_captions, running, progress)


def maps_per_second(rate: Rate, corpus: Corpus) -> float | None:
    """None for every frame, the default of the synthetic dataset, whose videos are short."""
    if rate is None:
        return None if "synth" in corpus.about else 4.0
    if rate == "all":
        return None
    if not 0 < rate < float("inf"):
        raise RecipeError(f"rate must be a positive number or all, not {rate}")
    return rate


def rate_in_words(rate: float | None) -> str:
    return f"{rate:g} maps a second" if rate else "every frame"


def aligner_of(corpus: Corpus, name: str | None, reading: str = "dense", scorer: str = "raw") -> Aligner:
    """The aligner of this name, or that of the corpus."""
    if name:
        return open_aligner(name, reading, scorer)
    folder = corpus.folder / "aligner"
    if not (folder / "aligner.json").is_file():
        raise CorpusError(
            f"{corpus.folder} has no aligner; train one with `tubelet align {corpus.folder}`, "
            "or name a CLIP or SigLIP with aligner=PATH_OR_HUB_NAME"
        )
    return open_aligner(folder, reading, scorer)


def aligner_folder(corpus: Corpus, name: str | None) -> Path:
    return Path(name).expanduser() if name else corpus.folder / "aligner"


def fill_text(
    corpus: Corpus,
    aligner: Aligner,
    rate: float | None,
    sources: Sequence[str] = (),
    shuffled_captions: bool = False,
    running: Running | None = None,
    progress: Progress = silent,
) -> Filled:
    """Maps and embeddings for the captions of all usable videos; `rate` maps a second, or every frame (None).

    With `shuffled_captions`, for those of another video too, as `data.captions.shuffled=True` takes them.
    """
    wanted = captioned(corpus, sources, shuffled_captions)
    part = running.part if running else None
    texts = sorted({text for _, video_texts in share(wanted, part) for text in video_texts})
    method = {"model": aligner.identity, "rate": rate or "all"}
    with (
        EmbeddingsWriter(corpus, aligner.identity, aligner.width, part) as embeddings,
        MapsWriter(corpus, NAME, "scalar", method, running=running) as maps,
    ):
        new = [text for text in texts if not embeddings.has(text)]
        vectors = embed_texts(aligner, new)
        for text in new:
            embeddings.add(text, vectors[text])
        embeddings.flush() if part else embeddings.finish()
        tasks = [
            task_of(video, pieces(video, rate), tuple(text for text in video_texts if not maps.has(video, text)))
            for video, video_texts in wanted
        ]
        vectors = embed_texts(aligner, sorted({text for task in share(tasks, part) for text in task.about}))
        work = Work(decode_piece, partial(score, aligner=aligner, vectors=vectors), join_text_pieces)
        filled = fill_maps({NAME: maps}, tasks, work, lambda task: not task.about, running, progress)
    return replace(
        filled,
        method=f"{aligner.identity}, {rate_in_words(rate)}",
        model=aligner.identity,
        captions=len(texts),
        notes=tuple(caption_notes(aligner, texts)),
    )


def captioned(corpus: Corpus, sources: Sequence[str], shuffled_captions: bool = False) -> list[tuple[Video, list[str]]]:
    """Every usable video that has captions, with their distinct normalised texts (and those of another video)."""
    corpus.check_sources(sources)
    found, videos = [], corpus.select("all")
    borrowed: dict[int, list[Caption]] = {}
    asked: list[str | None] = [*sources] or [None]
    for source in asked if shuffled_captions else ():
        for video, captions in zip(videos, exchanged(corpus, videos, source), strict=True):
            borrowed.setdefault(video.row, []).extend(captions)
    for video in videos:
        texts = {
            normalise_text(caption.text)
            for caption in corpus.captions_of(video)
            if not sources or caption.source in sources
        }
        for caption in borrowed.get(video.row, ()):
            texts.add(normalise_text(caption.text))
        if texts := texts - {""}:
            found.append((video, sorted(texts)))
    if not found:
        raise CorpusError(
            f"no usable video of {corpus.folder} has a caption; write some with `tubelet caption {corpus.folder}`"
        )
    return found


def embed_texts(aligner: Aligner, texts: Sequence[str]) -> dict[str, Vector]:
    vectors: dict[str, Vector] = {}
    for at in range(0, len(texts), 256):
        some = list(texts[at : at + 256])
        vectors.update(zip(some, aligner.texts(some).numpy().astype(np.float32), strict=True))
    return vectors


def score(task: Task, decoded: Frames, aligner: Aligner, vectors: Mapping[str, Vector]) -> Part | None:
    """The similarity of a piece to the captions of the task."""
    frames, times = decoded
    if not times.size:
        return None
    return similarity_maps(aligner, frames, np.stack([vectors[text] for text in task.about])), times


def join_text_pieces(task: Task, found: list[Part | None]) -> dict[tuple[str, str], Map]:
    """The maps of a video from those of its pieces."""
    if not (parts := [part for part in found if part is not None]):
        raise VideoError("no frame can be decoded")
    values = np.concatenate([value for value, _ in parts], axis=1)
    stamps = np.concatenate([times for _, times in parts])
    return {(NAME, text): (value, stamps) for text, value in zip(task.about, values, strict=True)}


def similarity_maps(
    aligner: Aligner, frames: UInt8[np.ndarray, "t h w 3"], texts: Float32[np.ndarray, "c e"]
) -> Float32[np.ndarray, "c t gh gw"]:
    """The cosine of every patch of every frame with every text."""
    named = torch.from_numpy(texts)
    batches = [frames[at : at + 64] for at in range(0, len(frames), 64)]
    found = [similarity(aligner.patches(batch).float(), named) for batch in batches]
    return torch.cat(found, dim=1).contiguous().numpy()
