"""Captioning: what a run says of clips that it has not seen, beside what it says of others.

The protocol, whole. The run's objective `Captioning` says one caption of the centre clip of every video of `split`,
nothing hidden, each time the most likely word. It is compared with the captions of its video that the run was trained
to say (`data.captions.source`), as numbers of words: `exact`, whether it is one of them; `f1`, of its words and those
of the nearest of them, each word once. The same with the captions of another video of the split, by a shuffle in which
no video is its own partner: what is no better than this tells nothing of the clip.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import chz
import numpy as np
import torch

from tubelet.corpus.schema import Video
from tubelet.corpus.words import numbers_of
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.features import choose_videos
from tubelet.evaluations.intervals import in_words
from tubelet.evaluations.tally import Tally, tallied
from tubelet.objectives.captioning import CaptioningLoss
from tubelet.results import Metric, Result
from tubelet.seeds import generator
from tubelet.tasks import Pretraining, View
from tubelet.types import CLIP, Batch

MEASURES = ("exact", "f1")


@chz.chz
class Captioning(Evaluation):
    name: ClassVar[str] = "captioning"
    compares_text: ClassVar[bool] = True

    split: str = chz.field(default="test", doc="whose clips are described")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    def run(self, context: Context) -> Result:
        task = context.task
        heads = [] if task is None else [head for head in task.objectives.values() if isinstance(head, CaptioningLoss)]
        if task is None or not heads:
            raise RecipeError("captioning needs a run that learned to say captions, as of the recipe coca")
        head = heads[0]
        videos = choose_videos(context.corpus, self.split, context.limit, context.seed, context.data.where)
        own = {video.id: said_of(context, video, head) for video in videos}
        captioned = [video for video in videos if own[video.id]]
        if len(captioned) < 2:
            raise CorpusError(f"captioning needs two videos of split {self.split} with captions")
        other = dict(zip(*shuffled([video.id for video in captioned], context.seed), strict=True))
        measure = partial(describe, task, head, own, other)
        done = tallied(context, captioned, "captions", measure, Tally)

        def metric(name: str) -> Metric:
            return done.metric(done.array(name), "", seed=context.seed, samples=self.samples)

        return Result(
            metrics={name: metric(name) for name in MEASURES},
            references={f"{name}, another clip's captions": metric(f"other {name}") for name in MEASURES},
            protocol={
                "clips": f"one centre clip of {len(captioned)} captioned videos of {self.split}, nothing hidden",
                "words": "the most likely, one after another; compared as their numbers",
                "intervals": in_words(self.samples),
            },
            counts={self.split: {**done.counts(), "without_caption": len(videos) - len(captioned)}},
            failed={self.split: done.failed},
        )


def said_of(context: Context, video: Video, head: CaptioningLoss) -> list[tuple[int, ...]]:
    """The captions of a video as the run would say them."""
    captions = context.corpus.captions_of(video, context.data.captions.source)
    return [without_end(numbers_of(caption.text, head.longest, head.vocabulary).tolist()) for caption in captions]


def without_end(numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(number for number in numbers if number)


def shuffled(ids: Sequence[str], seed: int) -> tuple[Sequence[str], Sequence[str]]:
    """Each with another."""
    order = generator(seed, "captions of another").permutation(len(ids))
    return [ids[index] for index in order], [ids[index] for index in np.roll(order, 1)]


def describe(
    task: Pretraining,
    head: CaptioningLoss,
    own: dict[str, list[tuple[int, ...]]],
    other: dict[str, str],
    batch: Batch,
    done: Tally,
) -> None:
    batch = batch.to(next(task.parameters()).device)
    seen = task.see({CLIP: View.whole(task.clip, batch)})
    with torch.autocast(batch.video.device.type, enabled=False):
        said = head.say(seen.of(head.config.on).alone.float())
    for name, numbers in zip(batch.ids, said.tolist(), strict=True):
        caption = without_end(numbers)
        for kind, captions in (("", own[name]), ("other ", own[other[name]])):
            done.values[f"{kind}exact"].append(float(caption in captions))
            done.values[f"{kind}f1"].append(max(f1(caption, one) for one in captions))


def f1(said: Sequence[int], wanted: Sequence[int]) -> float:
    common = len({*said} & {*wanted})
    return 2 * common / max(len({*said}) + len({*wanted}), 1)
