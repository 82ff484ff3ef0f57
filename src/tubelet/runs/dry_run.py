"""What a training would be and take, measured on a few real steps; nothing is written. Start reading at `dry_run`."""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import chz
import torch

from tubelet.checkpoint import CHECKPOINT, checkpoint_step
from tubelet.corpus.estimate import size, spell
from tubelet.corpus.table import Corpus, Video
from tubelet.distributed import DistributedContext
from tubelet.errors import TubeletError
from tubelet.jobs.pool import cores
from tubelet.loading.loader import train_batches
from tubelet.log import clock
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.init import resolve_init
from tubelet.runs.start import fresh
from tubelet.stores.embeddings import Embeddings
from tubelet.stores.frame_cache import decode, expected_bytes
from tubelet.tasks import Pretraining
from tubelet.train import wrap
from tubelet.types import Batch

STEPS = 3  # the first is not counted: it is slow
DECODED = 3  # videos that are decoded to see how fast that is


def dry_run(config: Pretrain, corpus: Path | str, folder: Path | str) -> list[str]:
    """The lines that `tubelet pretrain --dry-run` prints. Whatever would refuse the training refuses this."""
    config, _ = resolve_init(config, Path(folder))
    context, table = DistributedContext.here(config.precision), Corpus.open(Path(corpus))
    config.check(table)
    task = fresh(config, Embeddings.open(table).width if config.needs_text else None).to(context.device)
    videos = config.data.select(table)
    total = config.total(len(videos), 1)
    done = checkpoint_step(Path(folder) / CHECKPOINT)
    began = time.monotonic()
    batch = next(
        train_batches(
            table, config.clip, chz.replace(config.data, cache=False, workers=0), needs=task.needs,
            text=task.needs_text, batch=config.batch, seed=config.seed, first_step=0, last_step=1,
        )
    )  # fmt: skip
    if not len(batch):
        raise TubeletError(f"not one clip of the first step could be read: {batch.failed[0]}")
    cost = Cost.of(config, task, batch, time.monotonic() - began, context)
    clip, parameters = config.clip, sum(value.numel() for value in task.parameters())
    visible = clip.num_tubelets - config.masker.budget(clip).total
    step = cost.step(config)
    left = (total - done) * step
    lines = [
        f"clips: {len(videos)} to train on, {clip.frames}x{clip.size}x{clip.size}; {visible} of {clip.num_tubelets} "
        "tokens are visible",
        f"model: {parameters / 1e6:.1f} million parameters, with heads and decoder; {context.precision} on "
        f"{context.device.type}",
        f"steps: {total - done} of {config.batch * config.accumulate} clips, {step:.2f} s each on this machine "
        f"({cost.compute * config.accumulate:.2f} s computing, {cost.read * config.accumulate:.2f} s reading without "
        "the cache)",
    ]
    lines += [f"memory: {cost.memory}", f"checkpoint: {size(12 * parameters)} on disk"]
    if config.data.cache:
        short_side = config.data.kept_side(clip)
        every = table.select("all")
        first = decoding(every, short_side)
        left += first
        lines.append(
            f"data.cache: {size(expected_bytes(every, short_side))} of decoded frames of {len(every)} videos in "
            f"{table.folder / 'frames'}, made once in {spell(first)}; what is there already is used"
        )
    measured = f"; its evaluations ({', '.join(config.evaluations)}) come on top" if config.evaluations else ""
    lines.append(f"training takes {spell(left)} in one process here, and would end at {clock(left)}{measured}")
    return lines


@dataclass(frozen=True)
class Cost:
    """Seconds of one forward pass with its share of the step, and of reading its clips in one process."""

    compute: float
    read: float
    context: DistributedContext

    @classmethod
    def of(cls, config: Pretrain, task: Pretraining, batch: Batch, read: float, context: DistributedContext) -> "Cost":
        """By a few steps on one batch, with weights that nobody keeps."""
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

    def step(self, config: Pretrain) -> float:
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


def decoding(videos: Sequence[Video], short_side: int) -> float:
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
