"""A checkpoint is one safetensors file: weights, optimizer state, step. It is whole or it is not there."""

import os
import re
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from tubelet.checksums import Damaged, read_safetensors, read_safetensors_metadata, write_safetensors
from tubelet.distributed import is_rank0
from tubelet.errors import WeightsError
from tubelet.files import remove, remove_leftovers, writing
from tubelet.sharded import is_sharded, sharded_like

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"  # the weights of the best step, where one is kept
KEPT = "checkpoints"  # the folder of those that are kept for good
STEP = re.compile(r"\d{1,18}", re.ASCII)


def save_checkpoint(path: Path, task: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Replaces the file in one move, after its bytes are on the disk: a crash leaves the old one or the new one."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in state_of(task, optimizer).items()}
    write_safetensors(path, tensors, {"format": "1", "step": str(step)})


def state_of(task: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors of a checkpoint, by their names."""
    tensors = {f"task.{name}": value for name, value in task.state_dict().items()}
    for name, state in optimizer_state(task, optimizer).items():
        tensors |= {f"optimizer.{name}.{key}": value for key, value in state.items()}
    return tensors


class Saver:
    """Saves where training has come to, and what is to be kept for good.

    Of weights that ranks divide each writes its own part while training goes on (torch.distributed.checkpoint), and
    the first rank makes of the parts the one file that would have been written at once, bit for bit.
    """

    def __init__(self, path: Path, task: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.path, self.task, self.optimizer = path, task, optimizer
        self.pending: Future[Any] | None = None
        self.group: Any = None
        if is_sharded(task):
            if is_rank0():
                remove_leftovers(path.parent)
            self.group = distributed.new_group(backend="gloo")  # its exchanges do not meet those of the steps
            self.background = ThreadPoolExecutor(1)

    def save(self, step: int, keep: bool, wait: bool) -> None:
        """Called by every rank; `wait` until it is on the disk."""
        if self.group is not None:
            self.finish()
            self.pending = self.begin(step, keep)
            if wait:
                self.finish()
        elif is_rank0():
            save_checkpoint(self.path, self.task, self.optimizer, step)
            if keep:
                keep_checkpoint(self.path, step)

    def begin(self, step: int, keep: bool) -> Future[Any]:
        """Copies the part of this rank, and writes it in the background."""
        from torch.distributed.checkpoint import HuggingFaceStorageWriter, async_save

        state = state_of(self.task, self.optimizer)
        parts = self.path.with_name(f".{self.path.stem}-{step}.part")
        writer = HuggingFaceStorageWriter(str(parts), save_distributed=True)
        written: Any = async_save(state, storage_writer=writer, process_group=self.group)
        if not is_rank0():
            return written
        tensors = {name: torch.empty(value.shape, dtype=value.dtype) for name, value in state.items()}

        def join() -> None:
            try:
                written.result()
                read_parts(parts, tensors)
                write_safetensors(self.path, tensors, {"format": "1", "step": str(step)})
                if keep:
                    keep_checkpoint(self.path, step)
            finally:
                remove(parts)

        return self.background.submit(join)

    def finish(self) -> None:
        """Waits for the checkpoint that is being written. Its failure is the first of any rank."""
        if self.pending is None:
            return
        from torch.distributed.checkpoint.api import CheckpointException

        pending, self.pending = self.pending, None
        try:
            pending.result()
        except CheckpointException as error:
            raise next(iter(error.failures.values()))[0] from None


def read_parts(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Fills the tensors from the parts that ranks wrote."""
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as one process reads all of them
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)


def keep_checkpoint(path: Path, step: int) -> None:
    """The checkpoint that is there stays, as `checkpoints/step-N.safetensors`, when the next one takes its place: a
    second name of the same bytes."""
    kept = path.parent / KEPT / f"step-{step}{path.suffix}"
    kept.parent.mkdir(exist_ok=True)
    kept.unlink(missing_ok=True)
    try:
        os.link(path, kept)
    except OSError:  # a file system without second names
        with writing(kept) as part:
            shutil.copyfile(path, part)


def save_weights(path: Path, task: nn.Module, step: int = 0) -> None:
    """A checkpoint without an optimizer: of weights that came from elsewhere, or of the best step."""
    tensors = {f"task.{name}": value.detach().cpu().contiguous() for name, value in task.state_dict().items()}
    write_safetensors(path, tensors, {"format": "1", "step": str(step)})


def load_checkpoint(path: Path, task: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Fills task and optimizer; returns the step. Every tensor must fit."""
    tensors, step = read_checkpoint(path)
    load_strictly(task, part(tensors, "task"), path)
    state = part(tensors, "optimizer")
    names = {parameter: name for name, parameter in task.named_parameters()}
    content = optimizer.state_dict()
    ordered = (p for group in optimizer.param_groups for p in group["params"])
    content["state"] = {
        index: {name: sharded_like(p, value) for name, value in part(state, names[p]).items()}
        for index, p in enumerate(ordered)
    }
    optimizer.load_state_dict(content)
    return step


def load_weights(path: Path, task: nn.Module) -> int:
    """Fills the task alone, strictly; returns the step at which the weights were saved."""
    tensors, step = read_checkpoint(path)
    load_strictly(task, part(tensors, "task"), path)
    return step


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], int]:
    """All tensors, and the step."""
    try:
        tensors, metadata = read_safetensors(path)
    except FileNotFoundError as error:
        raise WeightsError(f"there is no checkpoint at {path}; train first, with `tubelet pretrain`") from error
    except (Damaged, OSError) as error:
        raise WeightsError(f"{path} cannot be read as a checkpoint ({error}); restore the file") from error
    return tensors, parse_step(metadata, path)


def checkpoint_step(path: Path) -> int:
    """The step of a checkpoint; 0 where there is none."""
    if not path.exists():
        return 0
    try:
        metadata = read_safetensors_metadata(path)
    except (Damaged, OSError) as error:
        raise WeightsError(f"{path} cannot be read as a checkpoint ({error}); restore the file") from error
    return parse_step(metadata, path)


def parse_step(metadata: Mapping[str, str], path: Path) -> int:
    if "step" not in metadata:
        raise WeightsError(f"{path} holds weights but no step; it is no checkpoint that `tubelet pretrain` wrote")
    if not STEP.fullmatch(metadata["step"]):
        raise WeightsError(f"{path} says that it is of step {metadata['step']!r}, which no run has; restore the file")
    return int(metadata["step"])


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], origin: Path | str) -> None:
    """Exactly the module's tensors, each of its shape; otherwise nothing is loaded and the names are given."""
    own = module.state_dict()
    faults = [f"{name} is missing" for name in own if name not in tensors]
    faults += [f"{name} is not known" for name in tensors if name not in own]
    faults += [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(value.shape)}"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if faults:
        more = f", and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise WeightsError(f"the weights in {origin} do not fit this model: {', '.join(faults[:4])}{more}")
    module.load_state_dict({name: sharded_like(own[name], value) for name, value in tensors.items()})


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors under `name.`, without it."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def optimizer_state(task: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """The optimizer's state by the names of the parameters."""
    return {name: optimizer.state[p] for name, p in task.named_parameters() if p in optimizer.state}
