"""A fine-tuned classifier on several views of every test video: softmax of each, then the mean, by video id.

It is measured when fine-tuning ends, and by `tubelet evaluate` of the run that was fine-tuned; no other run has one, so
it is in no list.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import chz
import torch

from tubelet.corpus.schema import Video
from tubelet.errors import CorpusError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.classification import (
    CHANCE,
    chance,
    headed_by,
    measure_scores,
    said_of_classes,
    with_chance,
)
from tubelet.evaluations.duplicates import SharedClips, with_thumbnails
from tubelet.evaluations.features import outline
from tubelet.evaluations.folds import Fold
from tubelet.evaluations.intervals import in_words
from tubelet.evaluations.multiview import Scores, predict_views
from tubelet.evaluations.selection import MEASURE_DOC, Measure, measure_of, said_of_uneven
from tubelet.progress import named
from tubelet.results import Result
from tubelet.video.content import state_or_none
from tubelet.video.views import parse


@dataclass(frozen=True)
class Tuned:
    """A classifier, and the labelled videos of its corpus."""

    scores: Scores
    classes: tuple[str, ...]
    fit: tuple[Video, ...]  # their labels give the level of chance
    select: tuple[Video, ...]
    test: tuple[Video, ...]
    unlabelled: int  # readable test videos without a label
    batch: int
    device: torch.device


@dataclass(frozen=True)
class TunedContext(Context):
    """What the evaluation of a classifier is given."""

    tuned: Tuned | None = None


@chz.chz
class FineTuned(Evaluation):
    name: ClassVar[str] = "finetune"

    views: str = chz.field(default="5x3", doc="pieces x squares of a test video whose probabilities are averaged")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")
    measure: Measure = chz.field(default="auto", doc=MEASURE_DOC)

    @chz.validate
    def _views(self) -> None:
        parse(self.views)

    @property
    def protocol(self) -> dict[str, str]:
        return {
            "test": f"{self.views} views (pieces x squares), softmax, then the mean, by video id",
            "chance": CHANCE,
            "intervals": in_words(self.samples, "whole test groups"),
        }

    def run(self, context: Context) -> Result:
        assert isinstance(context, TunedContext)
        assert context.tuned is not None
        tuned, corpus, clip, data = context.tuned, context.corpus, context.clip, context.data
        if not tuned.test:
            raise CorpusError(f"the test split of {corpus.name} has no labelled video: nothing can be measured on it")
        found = predict_views(
            tuned.scores, corpus, list(tuned.test), clip, data, views=parse(self.views), batch=tuned.batch,
            device=tuned.device, progress=named(context.progress, "testing"),
        )  # fmt: skip
        there = set(found.ids)
        read = [video for video in tuned.test if video.id in there]
        missing = [video for video in tuned.test if video.id not in there and state_or_none(video.path) is None]
        test = outline(read, tuned.classes)
        count = {
            "used": len(test), "failed": len(found.failed), "missing": len(missing), "unlabelled": tuned.unlabelled,
            "short": len(found.short), "groups": len(set(test.groups)),
        }  # fmt: skip
        result = Result(
            protocol=self.protocol, counts={"test": count}, failed={"test": list(found.failed)},
            classes=list(tuned.classes),
        )  # fmt: skip
        if not there:
            note = f"none of {len(tuned.test)} test videos could be read: nothing is measured"
            return replace(result, notes=[note])
        numbers, details = measure_scores(found.probabilities, test, seed=context.seed, samples=self.samples)
        shared = SharedClips.between(
            corpus,
            *(
                with_thumbnails(corpus, outline(part, tuned.classes), clip, data, tuned.batch)
                for part in ((*tuned.fit, *tuned.select), read)
            ),
        )
        fit = outline(tuned.fit, tuned.classes)
        measure = measure_of(fit.label, self.measure)
        return replace(
            result,
            metrics=with_chance(headed_by(measure, numbers), chance(fit, test)),
            protocol={**result.protocol, "measure": measure},
            notes=said_of_uneven(fit.label, measure) + said_of_classes([Fold(fit, test, torch.arange(len(test)))]),
            details={"all weights": details},
            contamination={"shared": shared.as_json()},
            warnings=shared.warnings(len(read)),
        )


def with_test(training: Result, measured: Result) -> Result:
    """What was decided before test was measured, and the result on test."""
    return replace(
        training,
        metrics={**training.metrics, **measured.metrics},
        protocol={**training.protocol, **measured.protocol},
        counts={**training.counts, **measured.counts},
        failed={**training.failed, **measured.failed},
        contamination={**training.contamination, **measured.contamination},
        warnings=list(dict.fromkeys([*training.warnings, *measured.warnings])),
        notes=list(dict.fromkeys([*training.notes, *measured.notes])),
        details=measured.details,
    )
