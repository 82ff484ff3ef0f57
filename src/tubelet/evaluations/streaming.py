"""Streaming: an encoder that keeps learning from a stream of clips while it is measured (TTT, arXiv 2307.05014).

The protocol, whole. The clips of `split` come one after another, each a little darker and redder than the one before
(`drift`). The probe of `linear` is fitted once, on train as it is, by the run's encoder as it is, and stays. Its
features are made by

- fixed: the run's encoder.
- offline: the same after training on the whole stream, in an order drawn by a key, for as many steps as online takes.
- online: before each clip `iterations` steps on the last `window` clips, this one among them, from the weights that the
  clip before left.

A step descends the run's reconstruction of pixels, under masks drawn by keys; AdamW begins anew with each clip. From
the code (renwang435/video-ttt-release): weights that are handed on, the window, the optimizer. Ours: the probe, which
is not trained with the reconstruction, the drift, `offline` with the steps of online. Start reading at `adapt`.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import chz
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.features import Features, choose_videos, encode
from tubelet.evaluations.intervals import of_difference
from tubelet.evaluations.linear import Linear
from tubelet.loading.loader import eval_batches
from tubelet.results import Metric, Result
from tubelet.seeds import generator, key
from tubelet.tasks import Pretraining
from tubelet.types import CLIP, Batch

WAYS = ("fixed", "offline", "online")
REDDER = (0.0, 0.5, 1.0)  # of the drift, how much of it red, green and blue take


@chz.chz
class Streaming(Evaluation):
    name: ClassVar[str] = "streaming"

    split: str = chz.field(default="test", doc="whose clips are the stream")
    clips: int = chz.field(default=200, doc="largest number of clips, by a keyed choice; they are kept in memory")
    drift: float = chz.field(default=0.5, doc="share of its light that the last clip has lost; 0: clips as they are")
    window: int = chz.field(default=8, doc="clips of a step, this one and those before it")
    iterations: int = chz.field(default=1, doc="steps before each clip; 0 leaves the encoder as it is")
    lr: float = chz.field(default=1e-4, doc="rate of AdamW")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    @chz.validate
    def _sensible(self) -> None:
        if not 0 <= self.drift < 1 or self.window < 1 or self.iterations < 0 or not self.lr > 0:
            raise RecipeError(
                f"drift={self.drift:g} must be from 0 to below 1, window={self.window} 1 or more, "
                f"iterations={self.iterations} 0 or more, and lr={self.lr:g} above 0"
            )

    def run(self, context: Context) -> Result:
        task = trainable(context)
        stream, features = self.stream(context)
        keys = [key(context.seed, f"streaming {name}") for name in features.ids]
        order = generator(context.seed, "streaming offline").permutation(len(stream)).tolist()
        made = {way: torch.stack([*self.features_of(way, task, stream, keys, order)]) for way in WAYS}
        train = context.features("train")
        probe = Linear(samples=self.samples, pools=("mean",))
        found = {
            way: probe.run(
                replace(context, computed={"train": train, "test": replace(features, mean=mean, temporal_concat=mean)})
            )
            for way, mean in made.items()
        }
        metrics = {f"{way}.accuracy": one.metrics["mean.accuracy"] for way, one in found.items()}
        fixed = found["fixed"].details["mean"]["by_group"]
        for way in WAYS[1:]:
            difference = of_difference(
                found[way].details["mean"]["by_group"], fixed, balanced=False, seed=context.seed, samples=self.samples
            )
            if difference is not None:
                metrics[f"{way}_minus_fixed.accuracy"] = Metric(*difference)
        return Result(
            metrics=metrics,
            protocol={
                "probe": {
                    **found["fixed"].protocol,
                    "features": "the mean of the tokens; the probe is the same for all",
                },
                "stream": f"{len(stream)} clips of {self.split}, the last with {1 - self.drift:.0%} of its blue light",
                "step": f"the run's loss on {self.window} clips, AdamW begun anew with each clip, rate {self.lr:g}",
                "cost": f"offline and online: {self.iterations * self.window} clips forward and backward for each that "
                "is measured",
            },
            counts={"train": train.counts(), self.split: features.counts()},
            failed={self.split: list(features.failed)},
            classes=found["fixed"].classes,
            details={way: one.details["mean"] for way, one in found.items()},
        )

    def stream(self, context: Context) -> tuple[UInt8[Tensor, "v 3 t h w"], Features]:
        """The clips in the order of the table, drifted, and what is known of them."""
        limit = min(n for n in (self.clips, context.limit) if n is not None)
        videos = choose_videos(context.corpus, self.split, limit, context.seed, context.data.where)
        group = {video.id: video.group for video in videos}
        failed: list[str] = []
        ids: list[str] = []
        clips = []
        for batch in eval_batches(context.corpus, videos, context.clip, context.data, batch=context.batch):
            failed += batch.failed
            ids += batch.ids
            clips.append(batch.video)
            context.progress(len(ids) + len(failed), len(videos), "")
        if not ids:
            raise CorpusError(f"none of {len(videos)} videos of {self.split} could be read; first: {failed[0]}")
        whole = torch.cat(clips)
        nothing = torch.empty(len(ids), 0)
        features = Features(
            nothing, nothing, torch.full((len(ids),), -1), tuple(ids), tuple(group[name] for name in ids),
            failed=tuple(failed),
        ).labelled(context.corpus, context.labels)  # fmt: skip
        return drifted(whole, self.drift), features

    def features_of(
        self, way: str, task: Pretraining, stream: UInt8[Tensor, "v 3 t h w"], keys: Sequence[int], order: Sequence[int]
    ) -> Iterator[Float[Tensor, "d"]]:
        """The mean token of each clip."""
        if way == "online":
            yield from adapt(task, stream, keys, window=self.window, iterations=self.iterations, lr=self.lr)
            return
        if way == "offline":
            task = copy.deepcopy(task)
            for start in range(len(stream)):
                some = [order[(start + place) % len(stream)] for place in range(min(self.window, len(stream)))]
                learn(task, stream[some], [keys[index] for index in some], self.iterations, self.lr)
        for clip in stream:
            yield mean_token(task, clip)


def adapt(
    task: Pretraining,
    stream: Sequence[UInt8[Tensor, "3 t h w"]] | UInt8[Tensor, "v 3 t h w"],
    keys: Sequence[int],
    *,
    window: int = 8,
    iterations: int = 1,
    lr: float = 1e-4,
) -> Iterator[Float[Tensor, "d"]]:
    """The mean token of each clip of a stream, by an encoder that first learns from it and from those just before it.
    The task itself stays as it is; `keys` draw the masks."""
    task = copy.deepcopy(task)
    for now in range(len(stream)):
        seen = range(max(now + 1 - window, 0), now + 1)
        learn(task, torch.stack([stream[index] for index in seen]), [keys[index] for index in seen], iterations, lr)
        yield mean_token(task, stream[now])


def learn(task: Pretraining, clips: UInt8[Tensor, "b 3 t h w"], keys: Sequence[int], steps: int, lr: float) -> None:
    """So many steps of the task's reconstruction of these clips, each under other masks."""
    if not steps:
        return
    device = next(task.parameters()).device
    numbers = torch.arange(len(clips))
    batch = Batch(clips, torch.tensor(keys), tuple(map(str, numbers.tolist())), source=numbers).to(device)
    optimizer = torch.optim.AdamW([one for one in task.parameters() if one.requires_grad], lr=lr)
    head = task.pixel_head
    assert head is not None
    task.train()
    for step in range(steps):
        optimizer.zero_grad()
        with torch.enable_grad():
            head(task.see({CLIP: task.hide(replace(batch, key=batch.key + step), CLIP)})).value.backward()
        optimizer.step()
    task.eval()


@torch.inference_mode()
def mean_token(task: Pretraining, clip: UInt8[Tensor, "3 t h w"]) -> Float[Tensor, "d"]:
    device = next(task.parameters()).device
    return encode(task.encoder, clip[None].to(device)).float().mean(1)[0].cpu()


def drifted(stream: UInt8[Tensor, "v 3 t h w"], drift: float) -> UInt8[Tensor, "v 3 t h w"]:
    """Each clip with a little less light than the one before, most of it blue."""
    share = torch.linspace(0, drift, len(stream))[:, None] * torch.tensor(REDDER)
    return ((1 - share)[..., None, None, None] * stream).round().to(torch.uint8)


def trainable(context: Context) -> Pretraining:
    """The task where it rebuilds pixels of its clips from these alone."""
    task = context.task
    head = None if task is None else task.pixel_head
    if task is None or head is None or head.config.streams != (CLIP,) or task.masker.maps:
        raise RecipeError(
            "streaming trains on, so it needs a run that predicts pixels of its clips under masks without maps"
        )
    return task
