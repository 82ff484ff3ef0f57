"""Temporal segmentation: what happens at each moment of a video, by a linear map of frozen features.

The protocol, whole. Clips over all of a video, each time step the mean of its tokens (`timelines`); its label is the
moment that it lies in, or background. Multinomial logistic regression as of the linear probe, its strength the one of
`grid` with the highest accuracy on time steps of held-out groups of train; fitted on all of train, tested once.
Segments are neighbours of equal labels; proposals for mean average precision are stretches above levels of probability
(`localisation`). Where moments overlap, a time step shows the one that began last; proposals are compared with all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import chz
import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.features import Features
from tubelet.evaluations.intervals import bootstrap_weights, in_words, of_mean, percentiles
from tubelet.evaluations.linear import Linear
from tubelet.evaluations.localisation import Matches, Span, f1, matches, mean_average_precision, merged, proposals
from tubelet.evaluations.selection import best, hold_out_for, score
from tubelet.evaluations.timelines import Timeline, labels_at, timelines
from tubelet.loading.data import Data
from tubelet.results import ACCURACY, Metric, Result

BACKGROUND = "background"
DRAWN = 4  # videos whose timelines the report draws


@dataclass(frozen=True)
class Answer:
    """Of one video: what is said of every time step, as segments, and as proposals with scores."""

    predicted: Int64[np.ndarray, "s"]
    segments: list[Span]
    proposals: list[Span]


@chz.chz
class Segmentation(Evaluation):
    name: ClassVar[str] = "segmentation"
    reads_tokens: ClassVar[bool] = True
    split: ClassVar[str] = "test"

    overlaps: tuple[float, ...] = chz.field(default=(0.1, 0.25, 0.5), doc="intersection over union that F1 asks for")
    map_overlaps: tuple[float, ...] = chz.field(
        default=(0.3, 0.4, 0.5, 0.6, 0.7), doc="the same of mean average precision; also their mean"
    )
    grid: tuple[float, ...] = chz.field(default=(1e-4, 1e-3, 1e-2, 1e-1), doc="strengths C that are tried")
    held_out: float = chz.field(default=0.25, doc="share of train's groups that selects")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    def check(self, corpus: Corpus, data: Data, labels: Mapping[str, str] | None, seed: int) -> None:
        for split in ("train", "test"):
            if not any(video.id in corpus.moments_by_video for video in corpus.select(split)):
                raise CorpusError(
                    f"segmentation needs moments, and no video of split {split} of {corpus.folder} has one; add them "
                    "with `tubelet index --update --moments FILE`"
                )

    def run(self, context: Context) -> Result:
        self.check(context.corpus, context.data, context.labels, context.seed)
        corpus = context.corpus
        classes = sorted({moment.label for moment in corpus.moments})
        train, failed_train = timelines(context.extraction, "train")
        test, failed_test = timelines(context.extraction, "test")
        fitted = steps_of(train, corpus, classes)
        linear = Linear(grid=self.grid)
        held = hold_out_for(self.grid, fitted, self.held_out, context.seed, "segmentation.grid=0.01")
        scores: dict[float, float] = {}
        if held is not None:
            some, rest = fitted.rows(held), fitted.rows(~held)
            for strength, head in zip(linear.settings(0), linear.fit(rest, "mean", linear.settings(0)), strict=True):
                scores[strength] = score(head.scores(some.mean).argmax(1), some.label, ACCURACY)
        chosen = best(scores)[0] if scores else self.grid[0]
        (head,) = linear.fit(fitted, "mean", [chosen])
        answers = [answer(line, head.scores(line.features), len(classes)) for line in test]
        true = [truth(line, corpus, classes) for line in test]
        commonest = int(fitted.label.mode().values)
        metrics = self.measured(test, answers, true, len(classes), commonest, context.seed)
        return Result(
            metrics=metrics,
            protocol={
                "split": "fitted and selected on train, measured once on test",
                "measure": "frame_accuracy",
                "features": "frozen encoder, clips over all of each video, the mean of the tokens of each time step",
                "head": "multinomial logistic regression a time step, L2, LBFGS; background is a class",
                "grid": linear.settings(0),
                "selected": chosen,
                "held_out_accuracy": {str(strength): value for strength, value in scores.items()},
                "segments": "neighbours of equal labels, background left out",
                "proposals": "stretches above 9 levels of probability; of those of a class that overlap by more than "
                "half the best; average precision as ActivityNet's, without an interval",
                "chance": f"the commonest label of train ({[*classes, BACKGROUND][commonest]}) everywhere",
                "intervals": in_words(self.samples, "whole test groups"),
                "seed": context.seed,
            },
            counts={
                split: {"used": len(lines), "failed": len(bad), "time_steps": sum(len(line.times) for line in lines),
                        "moments": sum(len(corpus.moments_by_video.get(line.video.id, ())) for line in lines)}
                for split, lines, bad in (("train", train, failed_train), ("test", test, failed_test))
            },
            failed={"train": failed_train, "test": failed_test},
            classes=classes,
            details={"timelines": drawn(test, true, answers, classes)},
        )  # fmt: skip

    def measured(
        self,
        lines: Sequence[Timeline],
        answers: Sequence[Answer],
        true: Sequence[Sequence[Span]],
        background: int,
        commonest: int,
        seed: int,
    ) -> dict[str, Metric]:
        actual = [labels_at(line.times, [(s.start, s.end, s.label) for s in spans], background)
                  for line, spans in zip(lines, true, strict=True)]  # fmt: skip
        right = np.concatenate([a == one.predicted for a, one in zip(actual, answers, strict=True)]).astype(np.float64)
        groups = [line.video.group for line in lines for _ in line.times]
        by_majority = float((np.concatenate(actual) == commonest).mean())
        interval = of_mean(right, groups, seed=seed, samples=self.samples)
        found = {"frame_accuracy": Metric(float(right.mean()), interval, by_majority)}
        for least in self.overlaps:
            counted = [matches(one.segments, spans, least) for one, spans in zip(answers, true, strict=True)]
            own = [line.video.group for line in lines]
            found[f"f1@{least:g}"] = Metric(f1(counted), f1_interval(counted, own, seed, self.samples))
        precisions = [
            mean_average_precision([one.proposals for one in answers], true, least) for least in self.map_overlaps
        ]
        for least, value in zip(self.map_overlaps, precisions, strict=True):
            found[f"map@{least:g}"] = Metric(value)
        return found | {"map": Metric(float(np.mean(precisions)))}


def steps_of(lines: Sequence[Timeline], corpus: Corpus, classes: Sequence[str]) -> Features:
    """Every time step as a row, in the group of its video."""
    x = torch.cat([line.features for line in lines])
    labels = [
        labels_at(line.times, [(s.start, s.end, s.label) for s in truth(line, corpus, classes)], len(classes))
        for line in lines
    ]
    return Features(
        mean=x,
        temporal_concat=x,
        label=torch.from_numpy(np.concatenate(labels)),
        ids=tuple(f"{line.video.id}@{time:.2f}" for line in lines for time in line.times.tolist()),
        groups=tuple(line.video.group for line in lines for _ in line.times),
        classes=(*classes, BACKGROUND),
    )


def truth(line: Timeline, corpus: Corpus, classes: Sequence[str]) -> list[Span]:
    """The moments of a video, within its row."""
    number = {name: index for index, name in enumerate(classes)}
    start, end = line.video.start, line.video.end
    return [
        Span(max(moment.start, start), min(moment.end, end), number[moment.label])
        for moment in sorted(corpus.moments_by_video.get(line.video.id, ()), key=lambda one: one.start)
        if moment.start < end and moment.end > start
    ]


def answer(line: Timeline, scores: Tensor, background: int) -> Answer:
    probability: Float64[np.ndarray, "s c"] = scores.double().softmax(1).numpy()
    predicted = probability.argmax(1)
    segments = merged(predicted, line.times, line.step, background)
    return Answer(predicted, segments, proposals(probability, line.times, line.step, background))


def f1_interval(
    counted: Sequence[Matches], groups: Sequence[str], seed: int, samples: int
) -> tuple[float, float] | None:
    """Percentiles of F1 with whole groups drawn again; None with fewer than two."""
    number = {group: index for index, group in enumerate(sorted(set(groups)))}
    if len(number) < 2:
        return None
    table = np.zeros((len(number), 2))
    for one, group in zip(counted, groups, strict=True):
        table[number[group]] += (2 * one.right, 2 * one.right + one.wrong + one.missed)
    hits, total = (bootstrap_weights(len(number), seed=seed, samples=samples) @ table).T
    return percentiles(hits / np.maximum(total, 1))


def drawn(
    lines: Sequence[Timeline], true: Sequence[Sequence[Span]], answers: Sequence[Answer], classes: Sequence[str]
) -> dict[str, Any]:
    """The first videos, for the report: (start, end, label) of what happens and of what is said to."""

    def spans(some: Sequence[Span]) -> list[list[Any]]:
        return [[round(span.start, 3), round(span.end, 3), classes[span.label]] for span in some]

    return {
        line.video.id: {
            "start": line.video.start, "end": line.video.end, "true": spans(own), "predicted": spans(one.segments),
        }
        for line, own, one in list(zip(lines, true, answers, strict=True))[:DRAWN]
    }  # fmt: skip
