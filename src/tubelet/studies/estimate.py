"""How long the missing trials will take here: by what finished ones took on such a machine, or by a few steps."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch

from tubelet.corpus.table import Corpus
from tubelet.distributed import DistributedContext
from tubelet.errors import TubeletError
from tubelet.loading.loader import eval_batches, train_batches
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.hardware import hardware
from tubelet.stores.embeddings import Embeddings
from tubelet.studies.cost import cost
from tubelet.studies.store import FinishedTrials
from tubelet.studies.trials import Trial

STEPS = 3  # that are timed, after one that is not counted
SAME = ("processor", "cpu_capability", "gpu", "threads")


@dataclass(frozen=True)
class Estimate:
    seconds: Mapping[str, float]  # by variant, of one trial
    how: str

    def total(self, trials: Sequence[Trial]) -> float | None:
        """None where nothing could be tried."""
        known = [self.seconds[trial.variant] for trial in trials if trial.variant in self.seconds]
        return statistics.mean(known) * len(trials) if known else None

    def spelled(self, trials: Sequence[Trial], jobs: int) -> str:
        seconds = self.total(trials)
        return (
            f" ({self.how})" if seconds is None else f", about {timedelta(seconds=round(seconds / jobs))} ({self.how})"
        )


def estimate(trials: Sequence[Trial], corpus: Corpus, finished: FinishedTrials) -> Estimate:
    """Of one trial of every variant. Finished trials on such a machine tell more: seconds by clips and FLOPs, and what
    evaluation took; a few steps say nothing about fitting probes."""
    here = {name: hardware().get(name) for name in SAME}
    like = [
        content
        for content in finished.records.values()
        if {name: content["hardware"].get(name) for name in SAME} == here and content["gflop"]
    ]
    variants = {trial.variant: trial for trial in trials}
    if like:
        rate = statistics.median(
            content["seconds"]["train"] / work(content["clips"], content["gflop"]) for content in like
        )
        rest = statistics.median(sum(content["seconds"].values()) - content["seconds"]["train"] for content in like)
        seconds = {
            variant: rest + rate * work(clips_measured(trial.config, corpus), cost(trial.config).flops / 1e9)
            for variant, trial in variants.items()
        }
        return Estimate(seconds, f"by {len(like)} finished trial{'s' * (len(like) > 1)} on such a machine")
    for trial in variants.values():
        try:
            step, forward = timed(trial.config, corpus)
        except TubeletError:
            continue  # this variant cannot be run here; running says why
        unit = (
            step
            * trial.config.total(len(trial.config.videos(corpus)), 1)
            / work(clips_measured(trial.config, corpus), cost(trial.config).flops / 1e9)
        )
        rest = forward * len(corpus.select("all"))
        return Estimate(
            {
                variant: rest + unit * work(clips_measured(other.config, corpus), cost(other.config).flops / 1e9)
                for variant, other in variants.items()
            },
            f"by {STEPS} steps of {trial.variant!r} timed now, without fitting probes",
        )
    return Estimate({}, "nothing could be tried")


def work(clips: int, gflop: float) -> float:
    """What training time goes with, roughly."""
    return clips * gflop


def clips_measured(config: Pretrain, corpus: Corpus) -> int:
    return config.total(len(config.videos(corpus)), 1) * config.batch * config.accumulate


def timed(config: Pretrain, corpus: Corpus) -> tuple[float, float]:
    """Seconds of a step, and of encoding one clip whole."""
    machine = DistributedContext.here(config.precision)
    config.check(corpus)
    task = config.build(Embeddings.open(corpus).width if config.needs_text else None).to(machine.device)
    batches = train_batches(
        corpus, config.clip, config.data, videos=config.videos(corpus), needs=task.needs, text=task.needs_text,
        streams=task.reads, batch=config.batch, seed=config.seed, first_step=0,
        last_step=(STEPS + 1) * config.accumulate,
    )  # fmt: skip
    for number in range(STEPS + 1):
        if number == 1:
            began = time.perf_counter()
        for _ in range(config.accumulate):
            with machine.autocast():
                step = task(next(batches).to(machine.device))
            step.loss.backward()
        float(step.loss.detach())  # waits for the device
    a_step = (time.perf_counter() - began) / STEPS
    some = next(eval_batches(corpus, corpus.select("all")[:16], config.clip, config.data, batch=16))
    began = time.perf_counter()
    with torch.inference_mode():
        float(task.encoder.encode(some.video.to(machine.device)).float().mean())
    return a_step, (time.perf_counter() - began) / max(len(some), 1)
