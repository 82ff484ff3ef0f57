"""Missing signals: a linear probe of all signals together, measured where one of them is not there.

The protocol, whole. One centre clip of every video and its streams as evaluation reads them, nothing hidden, encoded
together; a feature is the mean of all tokens. The probe of `linear` is fitted and selected on train with all signals
there, and measured on test with all of them, without each of them, and, of a stream of several devices, with every
second one switched off. What is missing is not encoded, and nothing takes its place.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar

import chz
import torch
from jaxtyping import Float
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.features import Features, choose_videos
from tubelet.evaluations.linear import Linear
from tubelet.evaluations.sharded import map_batches
from tubelet.loading.pairings import Reads
from tubelet.models.patches import cut
from tubelet.results import Metric, Result
from tubelet.streams import Joint, encode
from tubelet.tasks import Pretraining
from tubelet.types import CLIP, Batch

Signals = Mapping[str, tuple[Tensor, Tensor]]
"""Of each signal its tubelets, and where they stand."""

Condition = Callable[[Signals], Signals]
ALL = "all"


@chz.chz
class Missing(Evaluation):
    name: ClassVar[str] = "missing"
    reads_features: ClassVar[bool] = False

    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    def run(self, context: Context) -> Result:
        task = context.task
        if task is None or not any(isinstance(stream.tower, Joint) for stream in task.streams.values()):
            raise RecipeError(
                "missing needs a run whose streams are encoded with the clip, as streams.sound.tower=Joint"
            )
        conditions = conditions_of(task)
        train, test = (features_of(context, task, split, conditions) for split in ("train", "test"))
        probe = Linear(samples=self.samples, pools=("mean",))
        metrics: dict[str, Metric] = {}
        first: Result | None = None
        for name, features in test.items():
            found = probe.run(replace(context, computed={"train": train[ALL], "test": features}))
            first = first or found
            metrics[f"{name}.accuracy"] = found.metrics["mean.accuracy"]
        assert first is not None
        return Result(
            metrics=metrics,
            protocol={
                **first.protocol,
                "features": "the mean of the tokens of all signals that are there, encoded together",
                "conditions": f"fitted with all; measured with {', '.join(conditions)}",
            },
            counts=first.counts,
            failed=first.failed,
            classes=first.classes,
            details={ALL: first.details["mean"]},
            notes=first.notes,
        )


def conditions_of(task: Pretraining) -> dict[str, Condition]:
    """What is left of the signals in each."""
    joined = [name for name, stream in task.streams.items() if isinstance(stream.tower, Joint)]
    found: dict[str, Condition] = {ALL: lambda seen: seen}
    for name in (CLIP, *joined):
        found[f"without_{name}"] = partial(without, name=name)
    for name in joined:
        clip = task.clip_of(name)
        if clip.track and clip.grid[2] > 1:
            found[f"half_of_{name}"] = partial(half, name=name, devices=clip.grid[2])
    return found


def without(seen: Signals, name: str) -> Signals:
    return {one: part for one, part in seen.items() if one != name}


def half(seen: Signals, name: str, devices: int) -> Signals:
    """Without every second device."""
    tubelets, where = seen[name]
    on = (where[0] % devices) % 2 == 0
    return {**seen, name: (tubelets[:, on], where[:, on])}


def features_of(
    context: Context, task: Pretraining, split: str, conditions: Mapping[str, Condition]
) -> dict[str, Features]:
    """The features of a split in each condition; of train where nothing is missing alone."""
    wanted = conditions if split == "test" else {ALL: conditions[ALL]}
    videos = choose_videos(context.corpus, split, context.limit, context.seed, context.data.where)
    readable = [video for video in videos if video.status == "ok"]
    group = {video.id: video.group for video in videos}
    joined = {name: one for name, one in task.reads.items() if isinstance(task.streams[name].tower, Joint)}
    reads = {name: Reads(one.clip, one.pairing) for name, one in joined.items()}
    device = next(task.parameters()).device

    @torch.inference_mode()
    def of_batch(batch: Batch) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, Tensor]]:
        if not len(batch):
            return batch.failed, (), {}
        seen = {name: whole(task, batch.of(name).to(device), name) for name in (CLIP, *reads)}
        towers = dict(task.towers.items())
        means = {}
        for condition, left in wanted.items():
            parts = encode(task.encoder, towers, left(seen)).values()
            means[condition] = torch.cat([part.tokens.float() for part in parts], 1).mean(1).cpu()
        return batch.failed, batch.ids, means

    def batches() -> Iterator[tuple[tuple[str, ...], tuple[str, ...], dict[str, Tensor]]]:
        done = 0
        for found in map_batches(
            "signals", of_batch, context.corpus, readable, context.clip, context.data, batch=context.batch,
            streams=reads, progress=context.progress,
        ):  # fmt: skip
            done += len(found[0]) + len(found[1])
            context.progress(done, len(videos), "")
            yield found

    training = task.training
    task.eval()
    try:
        made = list(batches())
    finally:
        task.train(training)
    failed = [f"{video.id}: {video.reason or video.status}" for video in videos if video.status != "ok"]
    failed += [line for lines, _, _ in made for line in lines]
    ids = tuple(name for _, some, _ in made for name in some)

    def features(condition: str) -> Features:
        mean: Float[Tensor, "v d"] = torch.cat([means[condition] for _, _, means in made if means])
        return Features(
            mean, mean, torch.full((len(ids),), -1), ids, tuple(group[name] for name in ids), failed=tuple(failed)
        )

    return {condition: features(condition) for condition in wanted}


def whole(task: Pretraining, batch: Batch, name: str) -> tuple[Tensor, Tensor]:
    clip = task.clip_of(name)
    everywhere = torch.arange(clip.num_tubelets, device=batch.video.device).expand(len(batch), -1)
    return cut(batch.video, clip), everywhere
