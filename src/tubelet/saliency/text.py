"""Text saliency: how much every place of every frame is like a video's caption, computed once and kept.

A video is decoded once, its patches are embedded once, and every caption costs one small product more. What exists
is not computed again; stopped at any moment, the same call goes on. Start reading at `fill`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor
from torch.nn import functional

from tubelet.align import Aligner
from tubelet.data.maps import EmbeddingsWriter, MapsWriter
from tubelet.data.processes import Failure
from tubelet.data.table import Corpus, Video, normalise_text
from tubelet.errors import CorpusError
from tubelet.saliency.frames import look_at, pieces

NAME = "text"
FLUSH_SECONDS = 20.0  # of work that a power cut may cost

Progress = Callable[[int, int], None]
Vector = Float32[np.ndarray, "e"]
Part = tuple[Float32[np.ndarray, "c t gh gw"], Float64[np.ndarray, "t"]]
quiet: Progress = lambda done, total: None  # noqa: E731


@dataclass(frozen=True)
class Filled:
    """What a call did."""

    videos: int  # that have all their maps now
    computed: int  # maps made by this call
    captions: int  # distinct texts with an embedding
    failed: Mapping[str, str]  # id: reason


def fill(
    corpus: Corpus,
    aligner: Aligner,
    rate: float | None,
    sources: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
    progress: Progress = quiet,
) -> Filled:
    """Maps and embeddings for the captions of all usable videos; `rate` layers a second, or every frame (None).

    `about` says more of the model to people who read the maps' `about.json`; it must follow from the model alone.
    """
    wanted = captioned(corpus, sources)
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
        lacking = [[text for text in video_texts if not maps.has(video, text)] for video, video_texts in wanted]
        todo = [(video, lack) for (video, _), lack in zip(wanted, lacking, strict=True) if lack]
        progress(len(wanted) - len(todo), len(wanted))
        vectors = embed(aligner, sorted({text for _, lack in todo for text in lack}))
        failed = compute(maps, aligner, todo, vectors, rate, len(wanted), progress)
        maps.finish()
    computed = sum(len(lack) for video, lack in todo if video.id not in failed)
    return Filled(len(wanted) - len(failed), computed, len(texts), failed)


def captioned(corpus: Corpus, sources: Sequence[str]) -> list[tuple[Video, list[str]]]:
    """Every usable video that has captions, with their distinct normalised texts."""
    if unknown := set(sources) - set(corpus.sources):
        there = ", ".join(corpus.sources) or "none"
        raise CorpusError(f"{corpus.folder} has no captions of source {sorted(unknown)[0]!r}; it has: {there}")
    found = []
    for video in corpus.select("all"):
        texts = {
            normalise_text(caption.text)
            for caption in corpus.captions_of(video)
            if not sources or caption.source in sources
        }
        if texts := texts - {""}:
            found.append((video, sorted(texts)))
    if not found:
        raise CorpusError(f"no usable video of {corpus.folder} has a caption; index it with --captions CSV")
    return found


def embed(aligner: Aligner, texts: Sequence[str]) -> dict[str, Vector]:
    vectors: dict[str, Vector] = {}
    for at in range(0, len(texts), 256):
        some = list(texts[at : at + 256])
        vectors.update(zip(some, aligner.texts(some).numpy().astype(np.float32), strict=True))
    return vectors


def compute(
    maps: MapsWriter,
    aligner: Aligner,
    todo: Sequence[tuple[Video, list[str]]],
    vectors: Mapping[str, Vector],
    rate: float | None,
    total: int,
    progress: Progress,
) -> dict[str, str]:
    """Looks at the videos and writes their maps; returns why some have none."""
    failed: dict[str, str] = {}
    parts: dict[int, dict[int, Part]] = {}
    left = [len(pieces(video, rate)) for video, _ in todo]
    done, flushed = total - len(todo), time.monotonic()
    for place, number, seen in look_at([video for video, _ in todo], rate):
        video, texts = todo[place]
        left[place] -= 1
        if isinstance(seen, Failure):
            failed.setdefault(video.id, seen.reason)
            parts.pop(place, None)
        elif video.id not in failed and seen[1].size:
            named = np.stack([vectors[text] for text in texts])
            parts.setdefault(place, {})[number] = likeness(aligner, seen[0], named), seen[1]
        if left[place]:
            continue
        if layers := [part for _, part in sorted(parts.pop(place, {}).items())]:
            values = np.concatenate([value for value, _ in layers], axis=1)
            stamps = np.concatenate([times for _, times in layers])
            for text, value in zip(texts, values, strict=True):
                maps.add(video, text, value, stamps)
        else:
            failed.setdefault(video.id, "no frame can be decoded")
        if time.monotonic() - flushed > FLUSH_SECONDS:
            maps.flush()
            flushed = time.monotonic()
        done += 1
        progress(done, total)
    return failed


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
