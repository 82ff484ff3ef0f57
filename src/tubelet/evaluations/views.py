"""The linear probe on several views of every test video: softmax of each, then the mean, by video id.

The protocol, whole: everything is selected and fitted as in the linear probe, on one centre clip a video; of its pools
the one with the highest held-out accuracy is taken. Test videos are seen in `views` (pieces of their time x squares
along their longer side). A video counts where all its views can be read.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import chz
import torch

from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.classification import chance, headed_by, measure_scores, with_chance
from tubelet.evaluations.features import choose_videos
from tubelet.evaluations.heads import best_head
from tubelet.evaluations.linear import Linear
from tubelet.evaluations.multiview import predict_views
from tubelet.loading.data import Data
from tubelet.results import Result
from tubelet.video.views import parse


@chz.chz
class Multiview(Evaluation):
    name: ClassVar[str] = "multiview"
    reads_tokens: ClassVar[bool] = True

    views: str = chz.field(default="5x3", doc="pieces x squares of a test video: 5x3 for Kinetics, 2x3 for SSv2")
    linear: Linear = chz.field(default_factory=Linear, doc="the probe, on one centre clip a video")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    @chz.validate
    def _views(self) -> None:
        parse(self.views)
        if self.linear.cv is not None:
            raise RecipeError("multiview measures several views of the test split: it takes no linear.cv")

    def check(self, corpus: Corpus, data: Data, labels: Mapping[str, str] | None, seed: int) -> None:
        self.linear.check(corpus, data, labels, seed)

    def run(self, context: Context) -> Result:
        probed = self.linear.run(context)
        kept = best_head(self.linear, context, probed)
        asked = context.features("test").with_label()
        videos = [
            video
            for video in choose_videos(context.corpus, "test", context.limit, context.seed, context.data.where)
            if video.status != "ok" or context.labels is not None or video.label is not None
        ]
        device = next((p.device for p in context.encoder.parameters()), torch.device("cpu"))
        training = context.encoder.training
        context.encoder.eval()
        try:
            found = predict_views(
                kept.of_clips(context.encoder, context.clip.grid[0], device),
                context.corpus, videos, context.clip, context.data,
                views=parse(self.views), batch=context.batch, progress=context.progress,
            )  # fmt: skip
        finally:
            context.encoder.train(training)
        test = asked.rows(torch.tensor([name in set(found.ids) for name in asked.ids]))
        numbers, details = measure_scores(found.of(test.ids), test, seed=context.seed, samples=self.samples)
        levels = chance(context.features("train").with_label(), test)
        count = replace(test, failed=found.failed, short=found.short).counts()
        unlabelled = probed.counts["test"]["unlabelled"]
        decided = {name: probed.protocol[name][kept.pool] for name in ("selected", "held_out_accuracy")}
        return replace(
            probed,
            metrics=with_chance(headed_by(probed.measure, numbers), levels)
            | {"one_view.accuracy": probed.metrics[f"{kept.pool}.accuracy"]},
            protocol={
                **probed.protocol,
                "test": f"{self.views} views (pieces x squares), softmax, then the mean, by video id",
                **{name: {kept.pool: value} for name, value in decided.items()},
            },
            counts={**probed.counts, "test": {**count, "unlabelled": unlabelled}},
            failed={**probed.failed, "test": list(found.failed)},
            details={kept.pool: details},
            notes=[note for note in probed.notes if note.startswith(f"{kept.pool}:")],
        )
