"""How much cached text maps, cropped with each clip, differ from online ones. Start reading at `compare`."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from tubelet.aligners.base import Aligner
from tubelet.config import override
from tubelet.corpus.table import Corpus
from tubelet.diagnostics.maps import text_source
from tubelet.diagnostics.masks import plain_data
from tubelet.errors import RecipeError
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.progress import Progress, silent
from tubelet.recipes.pretrain import Pretrain
from tubelet.saliency_maps.online import OnlineTextMaps, TextMaps
from tubelet.saliency_maps.text import aligner_of
from tubelet.stores.embeddings import Embeddings
from tubelet.types import Batch, Budget, Clip, Mask

BATCH = 8


@dataclass(frozen=True)
class MapDifference:
    """Cached maps against online ones on randomly cropped clips, a number per clip."""

    correlation: list[float]  # of the two maps, over the tubelets
    iou: list[float]  # intersection over union of what the two hide
    chance: float  # the same of two random masks with as many hidden
    milliseconds: float  # of the aligner, a clip
    failed: tuple[str, ...]


def compare_words(
    corpus: Corpus | str | Path,
    *words: str,
    split: str = "test",
    clips: int | None = None,
    progress: Progress = silent,
) -> MapDifference:
    """The same as `compare`, by words: fields of text maps ("aligner=CLIP"), and of clip and data ("clip.size=64")."""
    corpus = Corpus.of(corpus)
    if clips is not None and clips < 1:
        raise RecipeError(f"--clips must be at least 1, not {clips}")
    of_run = [word for word in words if word.partition("=")[0].partition(".")[0] in ("clip", "data")]
    others = [word for word in words if word not in of_run]
    for word in others:
        if word.partition("=")[0] not in ("aligner", "reading", "scorer"):
            raise RecipeError(
                f"{word}: only aligner, reading, scorer and fields of clip and data can be set here, as in clip.size=64"
            )
    text, config = text_source(others), override(Pretrain(data=plain_data(corpus, split), steps=1), of_run)
    aligner = aligner_of(corpus, text.aligner, text.reading, text.scorer)
    return compare_maps(corpus, aligner, config.clip, config.data, clips or 64, progress=progress)


def compare_maps(
    corpus: Corpus,
    aligner: Aligner,
    clip: Clip,
    data: Data,
    clips: int = 64,
    ratio: float = 0.6,
    seed: int = 0,
    progress: Progress = silent,
) -> MapDifference:
    """The two maps of so many training clips of `data.split`, each with its own crop and time, hidden time step by time
    step."""
    online = OnlineTextMaps(TextMaps(), clip, aligner)
    online.fits(Embeddings.open(corpus))
    budget = Budget(int(clip.num_positions * ratio + 1e-9), "time_step", clip.grid)
    correlation: list[float] = []
    iou: list[float] = []
    failed: tuple[str, ...] = ()
    spent = 0.0
    for batch in cropped(corpus, clip, data, clips, seed):
        failed += batch.failed
        if len(batch):
            began = time.perf_counter()
            found = online(batch)
            spent += time.perf_counter() - began
            cached = batch.maps["text"]
            correlation += [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(cached.numpy(), found.numpy(), strict=True)]
            iou += intersection_over_union(Mask.hide_top(cached, budget).hidden, Mask.hide_top(found, budget).hidden)
        progress(len(correlation) + len(failed), clips, "")
    share = budget.total / clip.num_tubelets
    return MapDifference(correlation, iou, share / (2 - share), 1000 * spent / max(len(correlation), 1), failed)


def cropped(corpus: Corpus, clip: Clip, data: Data, clips: int, seed: int) -> Iterator[Batch]:
    """At least so many clips with their cached maps and their captions' embeddings, as in training."""
    steps = math.ceil(clips / BATCH)
    return train_batches(
        corpus, clip, data, needs=("text",), text=True, batch=BATCH, seed=seed, first_step=0, last_step=steps
    )


def intersection_over_union(one: Tensor, other: Tensor) -> list[float]:
    """Of two sets of tubelets, clip by clip."""
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    return [len({*a} & {*b}) / len({*a} | {*b}) for a, b in pairs]
