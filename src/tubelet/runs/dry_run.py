"""What a training would be and take, measured on a few real steps; nothing is written. Start reading at `dry_run`."""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import chz
import torch
from torch import nn

from tubelet.checkpoint import CHECKPOINT, checkpoint_step
from tubelet.corpus.estimate import hours, size
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.distributed import DistributedContext
from tubelet.errors import TubeletError
from tubelet.evaluations.labels import labels_of
from tubelet.jobs.pool import cores
from tubelet.loading.loader import train_batches
from tubelet.progress import clock
from tubelet.recipes import resolve_recipe
from tubelet.recipes.finetune import Finetune, resolve_finetune
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.division import Division
from tubelet.runs.folder import corpus_of, read_run_config
from tubelet.runs.init import resolve_init, resolve_teacher
from tubelet.runs.pretrain import fresh_task
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.frame_cache import decode, expected_bytes
from tubelet.train import wrap
from tubelet.types import Batch

STEPS = 3  # the first is not counted: it is slow
DECODED = 3  # videos that are decoded to see how fast that is


def dry_run(recipe: str, *words: str, on: Path | str, out: Path | str) -> list[str]:
    """The lines that `tubelet pretrain --dry-run` prints. Whatever would refuse the training refuses this."""
    config, _ = resolve_init(resolve_recipe(recipe, *words)[1], Path(out))
    config, _ = resolve_teacher(config, Path(out))
    corpus = Corpus.open(Path(on))
    config.check(corpus)
    context = DistributedContext.here(config.precision)
    task = fresh_task(config, Embeddings.open(corpus).width if config.needs_text else None).to(context.device)
    videos = config.videos(corpus)
    began = time.monotonic()
    batch = next(
        train_batches(
            corpus, config.clip, chz.replace(config.data, cache=False, workers=0), videos=videos, needs=task.needs,
            text=task.needs_text, streams=task.reads, batch=config.batch, seed=config.seed, first_step=0, last_step=1,
        )
    )  # fmt: skip
    cost = StepCost.of(config, task, batch, time.monotonic() - began, context)
    clip, hidden = config.clip, config.masker.budget(config.clip).total
    tokens = f"{clip.num_tubelets - hidden} of {clip.num_tubelets} tokens are visible"
    steps = config.total(len(videos), 1) - checkpoint_step(Path(out) / CHECKPOINT)
    measured = f"; its evaluations ({', '.join(config.evaluations)}) come on top" if config.evaluations else ""
    return report_lines(config, corpus, cost, videos, tokens, task, steps, measured)


def dry_run_finetune(
    run: Path | str,
    *words: str,
    on: Path | str | None = None,
    labels: str | Path | None = None,
    label: str | None = None,
    strict: bool = False,
) -> list[str]:
    """The same of `tubelet finetune --dry-run`."""
    origin = read_run_config(run)
    _, config = resolve_finetune(Path(run), origin.config, *words)
    corpus = corpus_of(Path(run), origin, on)
    context = DistributedContext.here(config.precision)
    given = labels_of(corpus, labels, label, strict)
    division = Division.of(corpus, config.data, given, config.labels_share, config.held_out, config.seed, config.grid)
    task = config.build(len(division.classes)).to(context.device)
    began = time.monotonic()
    batch = next(
        train_batches(
            corpus, config.clip, chz.replace(config.data, cache=False, workers=0), videos=division.fit,
            classes=division.classes, batch=config.batch, seed=config.seed, first_step=0, last_step=1,
        )
    )  # fmt: skip
    cost = StepCost.of(config, task, batch, time.monotonic() - began, context)
    tokens = f"{config.clip.num_tubelets} tokens; {len(division.select)} clips select, {len(division.test)} test"
    trainings = len(config.grid) + (1 if config.refit and division.select else 0)
    steps = trainings * config.total(len(division.fit), 1)
    measured = f"; {trainings} trainings of {steps // trainings} steps; the test of {config.views} views comes on top"
    return report_lines(config, corpus, cost, division.fit, tokens, task, steps, measured)


def report_lines(
    config: Pretrain | Finetune,
    corpus: Corpus,
    cost: "StepCost",
    videos: Sequence[Video],
    tokens: str,
    task: nn.Module,
    steps: int,
    measured: str,
) -> list[str]:
    clip, parameters = config.clip, sum(value.numel() for value in task.parameters())
    step = cost.step(config)
    left = steps * step
    report = [
        f"clips: {len(videos)} to train on, {clip.frames}x{clip.size}x{clip.size}; {tokens}",
        f"model: {parameters / 1e6:.1f} million parameters, with heads and decoder; {cost.context.precision} on "
        f"{cost.context.device.type}",
        f"steps: {steps} of {config.batch * config.accumulate} clips, {step:.2f} s each on this machine "
        f"({cost.compute * config.accumulate:.2f} s computing, {cost.read * config.accumulate:.2f} s reading without "
        "the cache)",
        f"memory: {cost.memory}",
        f"checkpoint: {size(12 * parameters)} on disk",
    ]
    if config.data.cache:
        short_side = config.data.kept_side(clip)
        every = corpus.select("all")
        first = decoding_seconds(every, short_side)
        left += first
        report.append(
            f"data.cache: {size(expected_bytes(every, short_side))} of decoded frames of {len(every)} videos in "
            f"{corpus.folder / 'frames'}, made once in {hours(first)}; what is there already is used"
        )
    report.append(f"training takes {hours(left)} in one process here, and would end at {clock(left)}{measured}")
    return report


@dataclass(frozen=True)
class StepCost:
    """Seconds of one forward pass with its share of the step, and of reading its clips in one process."""

    compute: float
    read: float
    context: DistributedContext

    @classmethod
    def of(
        cls, config: Pretrain | Finetune, task: nn.Module, batch: Batch, read: float, context: DistributedContext
    ) -> "StepCost":
        """By a few steps on one batch, with weights that nobody keeps."""
        if not len(batch):
            raise TubeletError(f"not one clip of the first step could be read: {batch.failed[0]}")
        wrap(task, context, config)
        optimizer = config.optim.build(task)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        took = []
        for step in range(STEPS):
            began = time.monotonic()
            with context.autocast():
                result = task(replace(batch, progress=step / STEPS).to(context.device))
            result.loss.backward()
            config.optim.clip(task)
            optimizer.step()
            optimizer.zero_grad()
            float(result.loss.detach())  # waits for a GPU
            took.append(time.monotonic() - began)
        return cls(min(took[1:]), read, context)

    def step(self, config: Pretrain | Finetune) -> float:
        """Loader processes read while the others compute; a cache of decoded frames takes next to nothing to read."""
        workers = min(config.data.workers, cores())
        if config.data.cache:
            forward = self.compute
        elif workers:
            forward = max(self.compute, self.read / workers)
        else:
            forward = self.compute + self.read
        return forward * config.accumulate

    @property
    def memory(self) -> str:
        """At the peak of these steps."""
        if self.context.device.type == "cuda":
            return f"{size(torch.cuda.max_memory_allocated())} of the GPU at the peak of a step"
        return f"{size(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)} at the peak, this process whole"


def decoding_seconds(videos: Sequence[Video], short_side: int) -> float:
    """Seconds in which all cores decode every frame once, by the pace of the first few videos that can be read."""
    seconds = frames = 0.0
    for video in videos[:DECODED]:
        began = time.monotonic()
        try:
            read, _ = decode((video.path, video.start, video.end, video.reading, short_side))
        except (TubeletError, OSError):
            continue
        seconds, frames = seconds + time.monotonic() - began, frames + len(read)
    return sum(video.frames for video in videos) * seconds / max(frames, 1) / cores()
