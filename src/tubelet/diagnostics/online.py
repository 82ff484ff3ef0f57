"""How much cached text maps, cropped with each clip, differ from online ones. Start reading at `compare`."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from tubelet.aligners.base import Aligner
from tubelet.corpus.table import Corpus
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.online import OnlineTextMaps, TextMaps
from tubelet.stores.embeddings import Embeddings
from tubelet.types import Batch, Budget, Clip, Mask

BATCH = 8


@dataclass(frozen=True)
class Difference:
    """Cached maps against online ones on randomly cropped clips, a number per clip."""

    correlation: list[float]  # of the two maps, over the tubelets
    iou: list[float]  # intersection over union of what the two hide
    chance: float  # the same of two random masks with as many hidden
    milliseconds: float  # of the aligner, a clip
    failed: tuple[str, ...]


def compare(
    corpus: Corpus,
    aligner: Aligner,
    clip: Clip,
    data: Data,
    clips: int = 64,
    ratio: float = 0.6,
    seed: int = 0,
    progress: Progress = silent,
) -> Difference:
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
    return Difference(correlation, iou, share / (2 - share), 1000 * spent / max(len(correlation), 1), failed)


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
