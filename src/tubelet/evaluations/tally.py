"""Numbers of clips, batch by batch, of a task in evaluation mode: what measures of a decoder share."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float64

from tubelet.corpus.schema import Video
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations.base import Context
from tubelet.evaluations.features import choose_videos
from tubelet.evaluations.intervals import of_mean
from tubelet.evaluations.sharded import map_batches
from tubelet.loading.pairings import Reads
from tubelet.results import Metric
from tubelet.tasks import Pretraining
from tubelet.types import Batch


@dataclass
class Tally:
    """One number a clip, by measure."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    groups: list[str] = field(default_factory=list)  # of the clips that were measured
    failed: list[str] = field(default_factory=list)  # "id: reason" of the others

    def add(self, other: "Tally") -> None:
        for name, values in other.values.items():
            self.values[name] += values
        self.groups += other.groups
        self.failed += other.failed

    def array(self, name: str) -> Float64[np.ndarray, "v"]:
        return np.array(self.values[name])

    def metric(self, values: Float64[np.ndarray, "v"], unit: str, *, seed: int, samples: int) -> Metric:
        """Their mean, with its interval over groups."""
        return Metric(float(values.mean()), of_mean(values, self.groups, seed=seed, samples=samples), unit=unit)

    def counts(self) -> dict[str, int]:
        return {"used": len(self.groups), "failed": len(self.failed), "groups": len(set(self.groups))}


T = TypeVar("T", bound=Tally)


def pixel_task(context: Context, name: str) -> Pretraining:
    if context.task is None:
        raise RecipeError(f"{name} needs a run with the objective `pixels`, not an encoder alone")
    return context.task


def videos_of(context: Context, split: str, most: int | None) -> tuple[list[Video], str]:
    """The videos of a split, at most so many, and how a protocol speaks of their clips."""
    limit = min((n for n in (most, context.limit) if n is not None), default=None)
    videos = choose_videos(context.corpus, split, limit, 0, context.data.where)
    return videos, f"one centre clip of {'every video' if limit is None else f'{len(videos)} videos'} of {split}"


def tallied(
    context: Context,
    videos: Sequence[Video],
    what: str,
    measure: Callable[[Batch, T], object],
    kind: type[T],
    *,
    needs: Sequence[str] = (),
    text: bool = False,
    streams: Mapping[str, Reads] | None = None,
) -> T:
    """What `measure` adds to the tally of each batch, on all ranks. The task's mode is as it was afterwards.
    `CorpusError` where not one clip could be read."""
    task = context.task
    assert task is not None
    group = {video.id: video.group for video in videos}

    @torch.inference_mode()
    def of_batch(batch: Batch) -> T:
        found = kind(failed=[*batch.failed])
        if len(batch):
            measure(batch, found)
            found.groups += [group[name] for name in batch.ids]
        return found

    training = task.training
    task.eval()
    done = kind()
    try:
        for some in map_batches(
            what, of_batch, context.corpus, videos, context.clip, context.data, batch=context.batch, needs=needs,
            text=text, streams=streams, progress=context.progress,
        ):  # fmt: skip
            done.add(some)
            context.progress(len(done.groups) + len(done.failed), len(videos), "")
    finally:
        task.train(training)
    if not done.groups:
        first = done.failed[0] if done.failed else "the split is empty"
        raise CorpusError(f"none of {len(videos)} videos of {context.corpus.name} could be read; first: {first}")
    return done
