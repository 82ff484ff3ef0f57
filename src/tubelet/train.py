"""The loop. Start reading at `train`.

It knows no masker, no objective and no corpus: a task turns a batch into a step, batches come by number, and
evaluations are values it is given. Whatever decides a result is a function of the step, so that a run resumed from
its checkpoint is, bit for bit, the run that was never interrupted.
"""

import contextlib
import math
import os
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import chz
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tubelet.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from tubelet.checksums import Record
from tubelet.distributed import DistributedContext, Sums
from tubelet.errors import RecipeError, RunError
from tubelet.heap import keep_freed_memory
from tubelet.log import Log, Pace, relative_losses
from tubelet.models.blocks import Block, Mlp
from tubelet.models.encoder import Encoder
from tubelet.optim import Optim
from tubelet.progress import Progress, clock
from tubelet.seeds import key
from tubelet.types import Batch
from tubelet.wording import and_more


@chz.chz
class Training:
    """What the loop reads of a recipe."""

    steps: int | None = chz.field(default=None, doc="optimizer steps; this or epochs")
    epochs: float | None = chz.field(default=None, doc="passes over the videos; this or steps")
    batch: int = chz.field(default=32, doc="clips of one forward pass of one process")
    accumulate: int = chz.field(default=1, doc="forward passes per optimizer step; adds no negatives to a contrast")
    optim: Optim = chz.field(default_factory=Optim, doc="optimizer and learning rate")
    precision: Literal["auto", "bf16", "fp32"] = chz.field(
        default="auto", doc="auto: bf16 where the machine has units for it (CUDA, AMX, AVX-512), else fp32"
    )
    compile: bool = chz.field(default=False, doc="compile the transformer blocks with torch.compile")
    gradient_checkpointing: bool = chz.field(
        default=False, doc="compute the encoder's blocks again for their gradients: less memory, a third more time"
    )
    recompute_gelu: bool = chz.field(
        default=False, doc="compute every GELU again for its gradient: a quarter less memory"
    )
    seed: int = chz.field(default=0, doc="all randomness is a function of this")
    log_every: int = chz.field(default=10, doc="steps between two records of log.jsonl")
    save_every: int = chz.field(default=500, doc="steps between two checkpoints")
    evaluate_every: int = chz.field(default=0, doc="steps between two evaluations while training; 0: only at the end")
    max_failed: float = chz.field(default=0.05, doc="stop when more than this share of the clips cannot be read")
    tensorboard: bool = chz.field(default=False, doc="write TensorBoard files next to log.jsonl")
    loggers: tuple[str, ...] = chz.field(
        default=(), doc="where numbers go beside log.jsonl: wandb, trackio, or what an installed package offers"
    )

    @chz.validate
    def _sensible(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            given = "both are given" if self.steps is not None else "neither is given"
            raise RecipeError(f"the length of a run is steps or epochs, and {given}; name one, as in steps=1000")
        length = self.steps if self.steps is not None else self.epochs
        if not 0 < (length or 0) < math.inf:
            raise RecipeError(f"the length of a run must be positive: steps={self.steps}, epochs={self.epochs}")
        for name in ("batch", "accumulate", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name}={getattr(self, name)} must be at least 1")
        if self.evaluate_every < 0 or not 0 <= self.max_failed <= 1:
            raise RecipeError("evaluate_every must be 0 or more, and max_failed a share between 0 and 1")

    def total(self, videos: int, world: int) -> int:
        """Optimizer steps of the whole run."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * videos / (self.batch * self.accumulate * world)))


def ignore(record: Record) -> None:
    pass


def train(
    config: Training,
    task: nn.Module,
    batches: Iterator[Batch],  # one a forward pass, from the checkpoint's step on
    evaluate: Callable[[int], object],  # measures the task after this step, on all ranks, and logs it
    folder: Path,
    log: Log,
    total: int,
    context: DistributedContext,
    progress: Progress,  # called with the steps done, those in all, and the losses
    until: int | None = None,  # the step at which the schedule of `total` steps is left; None: at its end
    watch: Callable[[Record], object] = ignore,  # called with every record of a step that is logged
) -> int:
    """Trains up to step `total` from the folder's checkpoint, if there is one. Returns the step it came to:
    less than the last only when it was asked to stop, and then everything is saved."""
    keep_freed_memory()
    last = total if until is None else until
    checkpoint = folder / CHECKPOINT
    task.to(context.device)
    optimizer = config.optim.build(task)
    first = load_checkpoint(checkpoint, task, optimizer) if checkpoint.exists() else 0
    model = wrap(task, context, config)
    clips = config.batch * config.accumulate * context.world_size
    wanted = failed = 0
    waiting: deque[Taken] = deque()  # steps whose numbers were not read yet
    reads = (config.log_every, config.save_every, config.evaluate_every)  # after these steps nothing is left unread

    pace = Pace(last, first, config.evaluate_every, time.monotonic())
    with Interruption() as interruption:
        if first == 0 and config.evaluate_every:
            pace.evaluated(timed(evaluate, 0, task))
        began, counted = time.monotonic(), 0
        for step in range(first, last):
            torch.manual_seed(key(config.seed, "step", step, context.rank))  # for modules that draw without a key
            rate = config.optim.rate(step, total, clips)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]

            seen: list[tuple[Batch, Tensor]] = []
            terms: dict[str, Tensor] = {}
            for micro in range(config.accumulate):
                batch = readable(replace(next(batches), step=step, progress=step / total), step)
                weight = context.loss_weight(len(batch))
                with gradients(model, reduce=micro == config.accumulate - 1):
                    with context.autocast():
                        result = model(batch.to(context.device))
                    (result.loss * weight / config.accumulate).backward()
                seen.append((batch, result.loss.detach()))
                for name, value in {"loss": result.loss.detach(), **result.terms}.items():
                    terms[name] = terms.get(name, 0) + value.float() * weight / (config.accumulate * context.world_size)
            norms = config.optim.clip(task)
            terms |= {name: norm / context.world_size for name, norm in norms.items()}

            counts = {
                "short": sum(int(batch.short.sum()) for batch, _ in seen if batch.short is not None),
                "failed": sum(len(batch.failed) for batch, _ in seen),
                "stop": int(interruption.asked is not None),
            }
            waiting.append(Taken(step, rate, context.all_reduce_sum({**terms, **counts}), seen))
            done, counted, stop = step + 1, counted + clips, False
            due = done in (1, last) or any(every and done % every == 0 for every in reads)
            due = due or (context.world_size == 1 and bool(counts["stop"]))
            while waiting and (due or stop or len(waiting) > context.behind):
                taken = waiting.popleft()
                record = taken.sums.read()
                short, failures, asked = (int(record.pop(name)) for name in counts)
                if not all(math.isfinite(record[name]) for name in ("loss", *norms)):
                    raise not_finite(taken.step, taken.seen, context, checkpoint)
                number, stop = taken.step + 1, stop or bool(asked)
                wanted, failed = wanted + clips, failed + failures
                if number % config.log_every == 0 or number in (1, last) or failures:
                    speed = counted / (time.monotonic() - began)
                    own = [name for batch, _ in taken.seen for name in batch.failed]
                    names = context.all_gather(own) if failures else []
                    log.write(
                        "step", number, **record, lr=taken.rate, clips_per_second=round(speed, 2), short=short,
                        failed=names,
                    )  # fmt: skip
                    watch({"step": number, **record})
                    ends = clock(pace.left(number, time.monotonic()))
                    progress(number, last, f"{relative_losses(record)}  {speed:.0f} clips/s  ends {ends}")
                    began, counted = time.monotonic(), 0
                    if failed > config.max_failed * max(wanted, 100):
                        raise too_many(failed, wanted, names, config.max_failed)
            optimizer.step()
            optimizer.zero_grad()

            if config.evaluate_every and done % config.evaluate_every == 0 and done < last:
                pace.evaluated(timed(evaluate, done, task))
                began, counted = time.monotonic(), 0
            if (done % config.save_every == 0 or done == last or stop) and context.rank == 0:
                log.sync()
                save_checkpoint(checkpoint, task, optimizer, done)
            if stop:
                return done
    return last


@dataclass(frozen=True)
class Taken:
    """A step, and its numbers on their way from the device."""

    step: int
    rate: float
    sums: Sums
    seen: list[tuple[Batch, Tensor]]


def wrap(task: nn.Module, context: DistributedContext, config: Training) -> nn.Module:
    """The task as the loop calls it. Parameters stay in `task`, under the same names."""
    for module in task.modules():
        if isinstance(module, Encoder):
            module.gradient_checkpointing = config.gradient_checkpointing
        if isinstance(module, Mlp):
            module.recompute_gelu = config.recompute_gelu
        if isinstance(module, Block) and config.compile:
            module.compile()
    if context.world_size == 1:
        return task
    with warnings.catch_warnings():  # a name that newer versions replace by one that older ones do not know
        warnings.filterwarnings("ignore", ".*broadcast_buffers. is deprecated")
        return DistributedDataParallel(task, broadcast_buffers=False)


def gradients(model: nn.Module, reduce: bool) -> contextlib.AbstractContextManager[Any]:
    """Ranks add up their gradients in the last forward pass of a step alone."""
    if isinstance(model, DistributedDataParallel) and not reduce:
        return model.no_sync()
    return contextlib.nullcontext()


def timed(evaluate: Callable[[int], object], step: int, task: nn.Module) -> float:
    """Measures the task, on all ranks; in how many seconds."""
    began = time.monotonic()
    task.eval()
    evaluate(step)
    task.train()
    return time.monotonic() - began


class Interruption:
    """Ctrl-C and SIGTERM become a question that the loop asks after each step; asked again a second later, it stops
    at once (`torchrun` repeats a Ctrl-C that the terminal has already sent)."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self.when = 0.0
        self.process = os.getpid()
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        with contextlib.suppress(ValueError):  # signals belong to the main thread
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.note)
        return self

    def note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a loader process: it ends when the first process says so
            if number == signal.SIGTERM:
                os._exit(1)
            return
        if self.asked is not None and time.monotonic() - self.when > 1:
            raise KeyboardInterrupt
        if self.asked is None:
            self.asked, self.when = number, time.monotonic()

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def readable(batch: Batch, step: int) -> Batch:
    if not len(batch):
        raise RunError(
            f"not one clip of step {step + 1} could be read ({and_more(batch.failed)}); "
            "look at the files and index the corpus again"
        )
    return batch


def too_many(failed: int, wanted: int, names: list[str], limit: float) -> RunError:
    return RunError(
        f"{failed} of {wanted} clips could not be read, lately {and_more(names)}; the limit is max_failed={limit}: "
        "index the corpus again, or allow more"
    )


def not_finite(step: int, seen: list[tuple[Batch, Tensor]], context: DistributedContext, checkpoint: Path) -> RunError:
    """Names the clips of the forward passes whose loss is not finite, or all of the step's where each loss is."""
    bad = context.all_gather([name for batch, loss in seen if not loss.isfinite() for name in batch.ids])
    clips = bad or context.all_gather([name for batch, _ in seen for name in batch.ids])
    what = "loss" if bad else "gradient"
    kept = f"the checkpoint in {checkpoint.parent} is untouched" if checkpoint.exists() else "nothing was saved yet"
    return RunError(
        f"the {what} of step {step + 1} is not finite, clips {and_more(clips)}; {kept}; "
        "try a lower optim.base_lr, optim.clip_norm=1 or precision=fp32"
    )
