"""The numbers of each step: on their way from the device, then judged, logged and shown.

Whoever asks a GPU for a number waits for all that it has to do. So the numbers of a step are read while the next step
is computed, unless something hangs on them: a record, a checkpoint, an evaluation.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from tubelet.checksums import Record
from tubelet.distributed import DistributedContext, Sums
from tubelet.errors import RunError
from tubelet.heap import resident
from tubelet.interrupt import Interruption
from tubelet.log import Log, Pace, relative_losses
from tubelet.progress import Progress, clock
from tubelet.types import Batch
from tubelet.wording import and_more

COUNTS = ("short", "failed", "stop", "preempted")  # summed over ranks beside the losses


@dataclass(frozen=True)
class Step:
    """What a rank found in one step, still on its device."""

    number: int  # from 1 on
    rate: float  # the learning rate
    losses: dict[str, Tensor]  # `loss` and its terms
    norms: Mapping[str, Tensor]  # of gradients
    passes: list[tuple[Batch, Tensor]]  # forward passes: the clips and their loss


@dataclass
class StepLog:
    """Takes every step with `add` and reads those that are due. `stop` then says whether any rank was asked to stop,
    and `preempted` whether by a scheduler."""

    log: Log
    context: DistributedContext
    progress: Progress  # called with the steps done, those in all, and the losses
    watch: Callable[[Record], object]  # called with every record of a step
    pace: Pace
    clips: int  # of a step, on all ranks
    every: int  # steps between two records
    last: int  # step of this run
    max_failed: float  # share of the clips
    checkpoint: Path
    stop: bool = False
    preempted: bool = False
    wanted: int = 0  # clips so far
    failed: int = 0
    waiting: deque[tuple[Step, Sums]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The clock of clips per second, after a record or what was no training."""
        self.began, self.counted, self.waited = time.monotonic(), 0, 0.0

    def next(self, batches: Iterator[Batch], step: int, progress: float) -> Batch:
        """The next batch, and how long it was waited for."""
        asked = time.monotonic()
        batch = replace(next(batches), step=step, progress=progress)
        self.waited += time.monotonic() - asked
        if not len(batch):
            raise RunError(
                f"not one clip of step {step + 1} could be read ({and_more(batch.failed)}); "
                "look at the files and index the corpus again"
            )
        return batch

    def add(self, step: Step, interruption: Interruption, due: bool) -> None:
        """`RunError` where a loss or a gradient is not finite, or more clips failed than may."""
        counts = {
            "short": sum(int(batch.short.sum()) for batch, _ in step.passes if batch.short is not None),
            "failed": sum(len(batch.failed) for batch, _ in step.passes),
            "stop": int(interruption.asked is not None),
            "preempted": int(interruption.preempted),
        }
        sums = self.context.all_reduce_sum({**step.losses, **step.norms, **counts})
        self.waiting.append((step, sums))
        self.counted += self.clips
        due = due or self.is_recorded(step.number) or (self.context.world_size == 1 and bool(counts["stop"]))
        while self.waiting and (due or self.stop or len(self.waiting) > self.context.behind):
            self.read(*self.waiting.popleft())

    def read(self, step: Step, sums: Sums) -> None:
        record = sums.read()
        short, failures, stops, preempts = (int(record.pop(name)) for name in COUNTS)
        if not all(math.isfinite(record[name]) for name in ("loss", *step.norms)):
            raise not_finite(step, self.context, self.checkpoint)
        self.stop, self.preempted = self.stop or stops > 0, self.preempted or preempts > 0
        self.wanted, self.failed = self.wanted + self.clips, self.failed + failures
        if self.is_recorded(step.number) or failures:
            own = [name for batch, _ in step.passes for name in batch.failed]
            names = self.context.all_gather(own) if failures else []
            self.write(step, record, short, names)
            if self.failed > self.max_failed * max(self.wanted, 100):
                raise too_many(self.failed, self.wanted, names, self.max_failed)

    def is_recorded(self, number: int) -> bool:
        return number % self.every == 0 or number in (1, self.last)

    def write(self, step: Step, record: Record, short: int, failed: list[str]) -> None:
        elapsed = time.monotonic() - self.began
        speed = self.counted / elapsed
        record |= {"data_wait": round(min(self.waited / elapsed, 1.0), 4), **memory(self.context.device)}
        rest = {"lr": step.rate, "clips_per_second": round(speed, 2), "short": short, "failed": failed}
        self.log.write("step", step.number, **record, **rest)
        self.watch({"step": step.number, **record})
        ends = clock(self.pace.left(step.number, time.monotonic()))
        self.progress(step.number, self.last, f"{relative_losses(record)}  {speed:.0f} clips/s  ends {ends}")
        self.restart()


def memory(device: torch.device) -> dict[str, float]:
    """GB of this process and, at most so far, of its GPU."""
    found = {"memory": round(resident() / 1e9, 3)}
    if device.type == "cuda":
        found["gpu_memory"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 3)
    return found


def too_many(failed: int, wanted: int, names: list[str], limit: float) -> RunError:
    return RunError(
        f"{failed} of {wanted} clips could not be read, lately {and_more(names)}; the limit is max_failed={limit}: "
        "index the corpus again, or allow more"
    )


def not_finite(step: Step, context: DistributedContext, checkpoint: Path) -> RunError:
    """Names the clips of the forward passes whose loss is not finite, or all of the step's where each loss is."""
    on = f" on rank {context.rank}" if context.world_size > 1 else ""
    bad = context.all_gather(
        [f"{name}{on}" for batch, loss in step.passes if not loss.isfinite() for name in batch.ids]
    )
    clips = bad or context.all_gather([f"{name}{on}" for batch, _ in step.passes for name in batch.ids])
    what = "loss" if bad else "gradient"
    kept = f"the checkpoint in {checkpoint.parent} is untouched" if checkpoint.exists() else "nothing was saved yet"
    return RunError(
        f"the {what} of step {step.number} is not finite, clips {and_more(clips)}; {kept}; "
        "try a lower optim.base_lr, optim.clip_norm=1 or precision=fp32"
    )
