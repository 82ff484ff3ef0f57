"""Cross retrieval: each stream finds the clip that it was read beside, and the reverse, through a contrast of views.

The protocol, whole. One centre clip of every video of `split` and, beside it, the stream as evaluation reads it: the
middle of what is possible, not augmented, nothing hidden. Both go through the head of each `InstanceContrast` of the
run; the gallery is the split, one answer is right (of words, every clip of an equal caption), cosine. Beside it the
same of small mean images, without an encoder. Of streams of another signal there are none. A stream that in evaluation
holds what the other does is left out. CrossVideoMAE asks whether a frame finds its clip, others whether its sound,
its sensors or its caption do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import chz
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from tubelet.errors import RecipeError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.features import choose_videos
from tubelet.evaluations.intervals import in_words
from tubelet.evaluations.retrieval import Retrieval, cosine, recall_by_chance
from tubelet.evaluations.tally import Tally, tallied
from tubelet.objectives.instance import InstanceContrastLoss
from tubelet.results import Metric, Result
from tubelet.tasks import Pretraining, View
from tubelet.types import CLIP, Batch, Encoded

SIDE = 8  # of the mean images, pixels


@chz.chz
class CrossRetrieval(Evaluation):
    name: ClassVar[str] = "cross_retrieval"
    compares_text: ClassVar[bool] = True  # where a stream is of words

    split: str = chz.field(default="test", doc="whose clips and streams are queries and gallery")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    def run(self, context: Context) -> Result:
        heads = {} if context.task is None else heads_of(context.task)
        if context.task is None or not heads:
            raise RecipeError(
                "cross_retrieval needs a run that contrasts two streams, as objectives.views=InstanceContrast"
            )
        videos = choose_videos(context.corpus, self.split, context.limit, context.seed, context.data.where)
        done = tallied(
            context, videos, "pairs", partial(measure_pairs, context.task, heads), Pairs,
            streams={name: replace(reads, maps=()) for name, reads in context.task.reads.items()},
        )  # fmt: skip
        own = torch.eye(len(done.groups), dtype=torch.bool)
        found: dict[str, Metric] = {}
        references: dict[str, Metric] = {}
        notes = []
        for name, head in heads.items():
            first, second = head.config.of
            right = done.equal_captions if head.of_words else own
            pixels = [torch.cat(done.images[stream]) for stream in head.config.of if stream in done.images]
            if done.values[first] == done.values[second]:
                kind = "holds the values" if context.task.clip_of(first).track else "shows the pixels"
                notes.append(f"{name} is not measured: {second}, not augmented, {kind} of {first}")
                continue
            views = [torch.cat([pair[side] for pair in done.vectors[name]]) for side in (0, 1)]
            small = [one - pixels[0].mean(0) for one in pixels]
            compared = [(found, views)] + [(references, small)] * (len(small) == 2)
            for way, query, gallery in ((f"{second}_to_{first}", 1, 0), (f"{first}_to_{second}", 0, 1)):
                for metrics, vectors in compared:
                    kind = name if metrics is found else f"{name}.pixels"
                    similarity = cosine(vectors[query], vectors[gallery])
                    metrics |= Retrieval(samples=self.samples).recalls(
                        f"{kind}.{way}", similarity, right, done.groups, recall_by_chance(right), context.seed
                    )
        if not found:
            raise RecipeError("; ".join(notes))
        return Result(
            metrics=found,
            references={name: one for name, one in references.items() if name.endswith("r@1")},
            protocol={
                "clips": f"one centre clip of each of {len(done.groups)} videos of {self.split}, nothing hidden",
                "streams": "as evaluation reads them: the middle of what is possible, not augmented",
                "rank": "of the first right answer, from 1; wrong answers of equal score come before it",
                "pixels": f"the same of mean images of {SIDE}x{SIDE} pixels, less their mean",
                "intervals": in_words(self.samples),
            },
            counts={self.split: done.counts()},
            failed={self.split: done.failed},
            notes=notes,
        )


def heads_of(task: Pretraining) -> dict[str, InstanceContrastLoss]:
    return {name: head for name, head in task.objectives.items() if isinstance(head, InstanceContrastLoss)}


def measure_pairs(task: Pretraining, heads: Mapping[str, InstanceContrastLoss], batch: Batch, done: "Pairs") -> None:
    seen = look_at_all(task, batch.to(next(task.parameters()).device))
    if batch.caption is not None:
        done.captions = [batch.caption]
    for stream in {name for head in heads.values() for name in head.config.of}:
        done.values[stream] += batch.of(stream).video.float().flatten(1).mean(1).tolist()
    for name, head in heads.items():
        first, second = head.views(seen)
        done.vectors[name] = [(first.cpu(), second.cpu())]
        for stream in head.config.of:
            if not task.clip_of(stream).track:
                done.images[stream] = [mean_image(batch.of(stream).video)]


def look_at_all(task: Pretraining, batch: Batch) -> Encoded:
    """The clip and every stream with nothing hidden."""
    views = {name: View.whole(task.clip_of(name), batch.of(name)) for name in (CLIP, *task.streams)}
    return task.see(views, every=True)


def mean_image(video: UInt8[Tensor, "b 3 t h w"]) -> Float[Tensor, "b p"]:
    return adaptive_avg_pool2d(video.float().mean(2), SIDE).flatten(1)


@dataclass
class Pairs(Tally):
    """Of each head the vectors of both sides, batch by batch, the small image of each stream, and the numbers of
    captions; `values` are the mean values of each stream, by which equal ones are known."""

    vectors: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    images: dict[str, list[Tensor]] = field(default_factory=dict)
    captions: list[Int64[Tensor, "b"]] = field(default_factory=list)

    @property
    def equal_captions(self) -> Bool[Tensor, "v v"]:
        numbers = torch.cat(self.captions)
        return numbers[:, None] == numbers

    def add(self, other: Tally) -> None:
        super().add(other)
        assert isinstance(other, Pairs)
        for name, pairs in other.vectors.items():
            self.vectors.setdefault(name, []).extend(pairs)
        for name, images in other.images.items():
            self.images.setdefault(name, []).extend(images)
        self.captions += other.captions
