"""The loop. Start reading at `train`.

It knows no masker, no objective and no corpus: a task turns a batch into a step, batches come by number, and
evaluations are values it is given. Whatever decides a result is a function of the step, so that a run resumed from
its checkpoint is, bit for bit, the run that was never interrupted.
"""

import contextlib
import copy
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import chz
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tubelet.checkpoint import CHECKPOINT, Saver, load_checkpoint
from tubelet.checksums import Record
from tubelet.distributed import DistributedContext, naming_lost_ranks
from tubelet.errors import RecipeError, RunError
from tubelet.heap import keep_freed_memory
from tubelet.interrupt import Interruption
from tubelet.log import Log, Pace
from tubelet.models.blocks import Block, Mlp
from tubelet.models.encoder import Encoder
from tubelet.optim import Optim
from tubelet.progress import Progress
from tubelet.seeds import key
from tubelet.sharded import copy_weights, is_sharded
from tubelet.step_log import Step, StepLog
from tubelet.types import Batch
from tubelet.wording import and_more

C = TypeVar("C", bound="Training")


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
    fsdp: bool = chz.field(
        default=False, doc="divide weights, gradients and moments among the ranks (FSDP2), for Huge and Giant encoders"
    )
    recompute_gelu: bool = chz.field(
        default=False, doc="compute every GELU again for its gradient: a quarter less memory"
    )
    seed: int = chz.field(default=0, doc="all randomness is a function of this")
    log_every: int = chz.field(default=10, doc="steps between two records of log.jsonl")
    save_every: int = chz.field(default=500, doc="steps between two checkpoints")
    evaluate_every: int = chz.field(default=0, doc="steps between two evaluations while training; 0: only at the end")
    max_failed: float = chz.field(default=0.05, doc="stop when more than this share of the clips cannot be read")
    keep_every: int = chz.field(default=0, doc="steps between two checkpoints that are kept for good; 0: none is")
    prometheus: str | None = chz.field(
        default=None, doc="a file ending in .prom for the textfile collector of Prometheus, written with each record"
    )
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
        if self.keep_every < 0:
            raise RecipeError(f"keep_every={self.keep_every} must be 0 or more")
        if self.prometheus is not None and not self.prometheus.endswith(".prom"):
            raise RecipeError(f"prometheus={self.prometheus} must end in .prom, else the collector does not read it")
        if self.evaluate_every < 0 or not 0 <= self.max_failed <= 1:
            raise RecipeError("evaluate_every must be 0 or more, and max_failed a share between 0 and 1")

    def total(self, videos: int, world: int) -> int:
        """Optimizer steps of the whole run."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * videos / (self.batch * self.accumulate * world)))

    @property
    def pools_clips(self) -> bool:
        """Whether the clips of a forward pass must stay together, as each has a part in what the others teach."""
        return False

    def divided(self: C, before: int, now: int) -> C:
        """The same steps of as many clips, begun on `before` ranks, for another number of them.

        Where clips teach each for itself, no rank takes more of them at once than before: fewer ranks accumulate.
        """
        if before == now:
            return self
        together, passes = self.batch * before, self.accumulate
        shared = together if self.pools_clips else together * passes
        if shared % now:
            what = "clips that are compared with each other" if self.pools_clips else "clips"
            fitting = [str(count) for count in range(1, shared + 1) if shared % count == 0]
            raise RunError(
                f"a step of this run is {shared} {what}, begun on {before} processes, which {now} cannot share alike; "
                f"resume it on {' or '.join(fitting[:6])}"
            )
        each = shared // now
        batch = each if self.pools_clips else max(n for n in range(1, min(self.batch, each) + 1) if each % n == 0)
        return chz.replace(self, batch=batch, accumulate=passes if self.pools_clips else each // batch)


def ignore(record: Record) -> None:
    pass


def unknown(forward: int, rank: int) -> Sequence[str]:
    return ()


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
    clips_of: Callable[[int, int], Sequence[str]] = unknown,  # which clips a rank takes in a forward pass
) -> int:
    """Trains up to step `total` from the folder's checkpoint, if there is one. Returns the step it came to:
    less than the last only when it was asked to stop, and then everything is saved."""
    keep_freed_memory()
    last = total if until is None else until
    checkpoint = folder / CHECKPOINT
    task.to(context.device)
    model = wrap(task, context, config)
    trained = model if is_sharded(model) else task
    optimizer = config.optim.build(trained)
    first = load_checkpoint(checkpoint, trained, optimizer) if checkpoint.exists() else 0
    saver = Saver(checkpoint, trained, optimizer)
    clips = config.batch * config.accumulate * context.world_size
    pace = Pace(last, first, config.evaluate_every, time.monotonic())
    step = first

    def doing(rank: int) -> str:
        passes = range(step * config.accumulate, (step + 1) * config.accumulate)
        names = [name for forward in passes for name in clips_of(forward, rank)]
        return f" (in step {step + 1}{', clips ' if names else ''}{and_more(names) if names else ''})"

    with Interruption() as interruption, naming_lost_ranks(doing):
        if first == 0 and config.evaluate_every:
            pace.evaluated(timed(evaluate, 0, task, trained))
        steps = StepLog(
            log, context, progress, watch, pace, clips, config.log_every, last, config.max_failed, checkpoint
        )
        for step in range(first, last):
            done = step + 1
            keeps = due(done, config.keep_every)
            saves = keeps or due(done, config.save_every) or done == last
            evaluates = due(done, config.evaluate_every) and done < last
            torch.manual_seed(key(config.seed, "step", step, context.rank))  # for modules that draw without a key
            rate = config.optim.rate(step, total, clips)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]

            passes: list[tuple[Batch, Tensor]] = []
            losses: dict[str, Tensor] = {}
            for micro in range(config.accumulate):
                batch = steps.next(batches, step, step / total)
                weight = context.loss_weight(len(batch))
                with gradients(model, reduce=micro == config.accumulate - 1):
                    with context.autocast():
                        result = model(batch.to(context.device))
                    (result.loss * weight / config.accumulate).backward()
                passes.append((batch, result.loss.detach()))
                for name, value in {"loss": result.loss.detach(), **result.terms}.items():
                    share = value.float() * weight / (config.accumulate * context.world_size)
                    losses[name] = losses.get(name, 0) + share
            norms = {name: norm / context.world_size for name, norm in config.optim.clip(trained).items()}
            steps.add(Step(done, rate, losses, norms, passes), interruption, due=saves or evaluates)
            optimizer.step()
            optimizer.zero_grad()

            if evaluates:
                pace.evaluated(timed(evaluate, done, task, trained))
                steps.restart()
            if saves or steps.stop:
                log.sync()
                saver.save(done, keeps, wait=done == last or steps.stop)
            if steps.stop:
                interruption.stopped(steps.preempted)
                return done
    copy_weights(trained, task)
    return last


def due(step: int, every: int) -> bool:
    """Every so many steps; 0 is never."""
    return every > 0 and step % every == 0


def wrap(task: nn.Module, context: DistributedContext, config: Training) -> nn.Module:
    """The task as the loop calls it. Parameters stay in `task`, under the same names, unless ranks divide them: those
    are a copy's, and the task gets them whole when somebody looks at it."""
    divided = config.fsdp and context.world_size > 1
    task = copy.deepcopy(task) if divided else task
    for module in task.modules():
        if isinstance(module, Encoder):
            module.gradient_checkpointing = config.gradient_checkpointing
        if isinstance(module, Mlp):
            module.recompute_gelu = config.recompute_gelu
        if isinstance(module, Block) and config.compile:
            module.compile()
    if context.world_size == 1:
        return task
    if divided:
        return shard(task, context)
    with warnings.catch_warnings():  # a name that newer versions replace by one that older ones do not know
        warnings.filterwarnings("ignore", ".*broadcast_buffers. is deprecated")
        return DistributedDataParallel(task, broadcast_buffers=False)


def gradients(model: nn.Module, reduce: bool) -> contextlib.AbstractContextManager[Any]:
    """Ranks add up their gradients in the last forward pass of a step alone."""
    if isinstance(model, DistributedDataParallel) and not reduce:
        return model.no_sync()
    if hasattr(model, "set_requires_gradient_sync"):  # FSDP2
        model.set_requires_gradient_sync(reduce)  # type: ignore[operator]
    return contextlib.nullcontext()


def shard(task: nn.Module, context: DistributedContext) -> nn.Module:
    """A block of an encoder is whole while it is computed, all else during the step."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(context.device.type, (context.world_size,))
    for module in task.modules():
        if isinstance(module, Encoder):
            for block in module.blocks:
                fully_shard(block, mesh=mesh)
    fully_shard(task, mesh=mesh)
    return task


def timed(evaluate: Callable[[int], object], step: int, task: nn.Module, trained: nn.Module) -> float:
    """Measures the task, on all ranks; in how many seconds."""
    began = time.monotonic()
    copy_weights(trained, task)
    task.eval()
    evaluate(step)
    task.train()
    return time.monotonic() - began
