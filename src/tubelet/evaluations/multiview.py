"""Multi-view testing: the scores of several views of a video become probabilities, then their mean.

A video is known by its id, never by its file's stem, and a view by its number: the order in which they come, and a
clip that comes twice (as samplers of several processes pad their last batch), change nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.evaluations.sharded import map_batches
from tubelet.loading.data import Data
from tubelet.progress import Progress, silent
from tubelet.types import Batch, Clip
from tubelet.video.views import CENTRE, View

Scores = Callable[[Tensor], Tensor]
"""Clips, uint8 "b 3 t h w", to a score a class, "b classes"."""


@dataclass(frozen=True)
class Predicted:
    """The probabilities of the videos of which every view could be read; `failed` names the others."""

    ids: tuple[str, ...]
    probabilities: Float[Tensor, "v classes"]
    failed: tuple[str, ...] = ()  # "id: reason"
    short: tuple[str, ...] = ()

    def of(self, ids: Sequence[str]) -> Float[Tensor, "v classes"]:
        index = {name: number for number, name in enumerate(self.ids)}
        return self.probabilities[[index[name] for name in ids]]


@dataclass(frozen=True)
class Outline:
    """Of a batch, all but its pixels."""

    ids: tuple[str, ...]
    view: Int64[Tensor, "b"]
    short: tuple[str, ...]
    failed: tuple[str, ...]

    @classmethod
    def of(cls, batch: Batch) -> "Outline":
        assert batch.view is not None
        short = () if batch.short is None else compress(batch.ids, batch.short.tolist())
        return cls(batch.ids, batch.view, tuple(short), batch.failed)


def predict_views(
    scores: Scores,
    corpus: Corpus,
    videos: Sequence[Video],
    clip: Clip,
    data: Data,
    *,
    views: Sequence[View] = (CENTRE,),
    batch: int = 16,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> Predicted:
    """The class probabilities of these videos, in the order of the table."""
    ids: list[str] = []
    failed: list[str] = []
    short: dict[str, None] = {}
    seen, scored, done = [], [], 0

    def score(some: Batch) -> tuple[Outline, Tensor | None]:
        return Outline.of(some), scores(some.video.to(device)).float().cpu() if len(some) else None

    videos = [replace(video, label=None) for video in videos]  # whatever the labels are called, they are not read here
    with torch.inference_mode():
        for some, found in map_batches(
            "scores", score, corpus, videos, clip, data, batch=batch, views=views, progress=progress
        ):
            failed += some.failed
            done += len(some.ids) // len(views) + len(some.failed)
            if found is not None:
                ids += some.ids
                seen.append(some.view)
                scored.append(found)
            short |= dict.fromkeys(some.short)
            progress(done, len(videos), "")
    if not ids:
        return Predicted((), torch.empty(0, 0), tuple(failed))
    merged = merge(ids, torch.cat(seen), torch.cat(scored))
    there = [video.id for video in videos if video.id in merged]
    return Predicted(tuple(there), torch.stack([merged[name] for name in there]), tuple(failed), tuple(short))


def merge(
    ids: Sequence[str], views: Int64[Tensor, "c"], scores: Float[Tensor, "c classes"]
) -> Mapping[str, Float[Tensor, "classes"]]:
    """The mean over a video's different views of the softmax of its scores."""
    probabilities = scores.double().softmax(1)
    rows: dict[str, dict[int, int]] = {}
    for row, (name, view) in enumerate(zip(ids, views.tolist(), strict=True)):
        rows.setdefault(name, {}).setdefault(view, row)
    return {
        name: probabilities[[row for _, row in sorted(found.items())]].mean(0).float() for name, found in rows.items()
    }
