"""Text saliency: how much every place of every frame is like a video's caption, computed once and kept.

A video is decoded once, its patches are embedded once, and every caption costs one small product more. What exists
is not computed again; stopped at any moment, the same call goes on. Start reading at `fill`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor
from torch.nn import functional

from tubelet.aligners import Aligner
from tubelet.aligners.unknown_words import caption_notes
from tubelet.corpus.captions import exchanged
from tubelet.corpus.table import Caption, Corpus, Video, normalise_text
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.runner import Task, Work
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.filling import Filled, Map, Running, fill_maps, task_of
from tubelet.saliency_maps.frames import Seen, look, pieces
from tubelet.stores.embeddings import EmbeddingsWriter
from tubelet.stores.maps import MapsWriter

NAME = "text"

Vector = Float32[np.ndarray, "e"]
Part = tuple[Float32[np.ndarray, "c t gh gw"], Float64[np.ndarray, "t"]]


@dataclass(frozen=True)
class FilledText(Filled):
    captions: int  # distinct texts with an embedding
    remarks: tuple[str, ...] = ()


def fill(
    corpus: Corpus,
    aligner: Aligner,
    rate: float | None,
    sources: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
    another: bool = False,
    running: Running | None = None,
    progress: Progress = silent,
) -> FilledText:
    """Maps and embeddings for the captions of all usable videos; `rate` layers a second, or every frame (None).

    With `another`, for those of another video too, as `data.captions.whose=another` takes them. `about` says more of
    the model to people who read the maps' `about.json`; it must follow from the model alone.
    """
    wanted = captioned(corpus, sources, another)
    texts = sorted({text for _, video_texts in wanted for text in video_texts})
    method = {"model": aligner.identity, "rate": rate or "all", **(about or {})}
    with (
        EmbeddingsWriter(corpus, aligner.identity, aligner.width) as embeddings,
        MapsWriter(corpus, NAME, "scalar", method) as maps,
    ):
        new = [text for text in texts if not embeddings.has(text)]
        vectors = embed(aligner, new)
        for text in new:
            embeddings.add(text, vectors[text])
        embeddings.finish()
        videos = [video for video, _ in wanted]
        tasks = [
            task_of(video, pieces(video, rate), tuple(text for text in video_texts if not maps.has(video, text)))
            for video, video_texts in wanted
        ]
        vectors = embed(aligner, sorted({text for task in tasks for text in task.about}))
        work = Work(look, partial(score, aligner=aligner, vectors=vectors), joined)
        filled = fill_maps({NAME: maps}, videos, tasks, work, lambda task: not task.about, running, progress)
    return FilledText(**vars(filled), captions=len(texts), remarks=tuple(caption_notes(aligner, texts)))


def captioned(corpus: Corpus, sources: Sequence[str], another: bool = False) -> list[tuple[Video, list[str]]]:
    """Every usable video that has captions, with their distinct normalised texts (and those of another video)."""
    if unknown := set(sources) - set(corpus.sources):
        there = ", ".join(corpus.sources) or "none"
        raise CorpusError(f"{corpus.folder} has no captions of source {sorted(unknown)[0]!r}; it has: {there}")
    found, videos = [], corpus.select("all")
    borrowed: dict[int, list[Caption]] = {}
    asked: list[str | None] = [*sources] or [None]
    for source in asked if another else ():
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


def embed(aligner: Aligner, texts: Sequence[str]) -> dict[str, Vector]:
    vectors: dict[str, Vector] = {}
    for at in range(0, len(texts), 256):
        some = list(texts[at : at + 256])
        vectors.update(zip(some, aligner.texts(some).numpy().astype(np.float32), strict=True))
    return vectors


def score(task: Task, seen: Seen, aligner: Aligner, vectors: Mapping[str, Vector]) -> Part | None:
    """The likeness of a piece to the captions that the task is about."""
    frames, times = seen
    return (likeness(aligner, frames, np.stack([vectors[text] for text in task.about])), times) if times.size else None


def joined(task: Task, found: list[Part | None]) -> dict[tuple[str, str], Map]:
    """The maps of a video from those of its pieces."""
    if not (parts := [part for part in found if part is not None]):
        raise VideoError("no frame can be decoded")
    values = np.concatenate([value for value, _ in parts], axis=1)
    stamps = np.concatenate([times for _, times in parts])
    return {(NAME, text): (value, stamps) for text, value in zip(task.about, values, strict=True)}


def likeness(
    aligner: Aligner, frames: UInt8[np.ndarray, "t h w 3"], texts: Float32[np.ndarray, "c e"]
) -> Float32[np.ndarray, "c t gh gw"]:
    """The cosine of every patch of every frame with every text."""
    named = functional.normalize(torch.from_numpy(texts), dim=-1)
    found: list[Tensor] = []
    for at in range(0, len(frames), 64):
        patches = functional.normalize(aligner.patches(frames[at : at + 64]).float(), dim=-1)
        found.append((patches @ named.T).permute(3, 0, 1, 2))
    return torch.cat(found, dim=1).contiguous().numpy()
