"""One process writes a run folder: what is in it when it is opened, and who holds it."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from tubelet.checkpoint import CHECKPOINT, checkpoint_step
from tubelet.errors import RunError
from tubelet.files import lock, remove_leftovers
from tubelet.log import read_log
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import LOCK, LOG, RECIPE, C, RunConfig, read_run_config_of, refuse_step


@dataclass(frozen=True)
class RunLock(Generic[C]):
    """The lock on a run folder, with the run in it and how far that is trained."""

    run_config: RunConfig[C]
    begun: bool
    step: int = 0
    finished: bool = False


@contextlib.contextmanager
def lock_run(folder: Path, run_config: RunConfig[C]) -> Iterator[RunLock[C]]:
    """Takes the folder for this run: a new one, or the same one resuming. Anything else is refused untouched.

    A new run has begun once `write_run_config` has; when it fails before that, it leaves nothing behind.
    """
    check_kind(folder)
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        try:
            yield inspect_run(folder, run_config)
        finally:
            if not (folder / RECIPE).exists():
                (folder / LOCK).unlink(missing_ok=True)
                if created:
                    with contextlib.suppress(OSError):  # the first error is reported, not this
                        folder.rmdir()


def inspect_run(folder: Path, run_config: RunConfig[C]) -> RunLock[C]:
    if not (folder / RECIPE).exists():
        return RunLock(run_config, begun=False)
    old = read_run_config_of(folder, type(run_config.config))
    if differences := old.differences(run_config):
        raise RunError(
            f"{folder} holds another run ({'; '.join(differences)}); give a new folder with --out"
            + f", or start from its weights with init={folder} and a new --out" * isinstance(old.config, Pretrain)
        )
    step = checkpoint_step(folder / CHECKPOINT)
    refuse_step(step, old.steps, folder / CHECKPOINT)
    ended = any(record["kind"] == "end" for record in read_log(folder / LOG))
    return RunLock(old, begun=True, step=step, finished=ended and step >= old.steps)


def check_kind(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give the run a folder of its own with --out")
    if not folder.exists() or (folder / RECIPE).exists():
        return
    begun = re.compile(rf"\.{re.escape(RECIPE)}(\.\d+)?\.part")  # a write that was killed
    if held := sorted(path.name for path in folder.iterdir() if path.name != LOCK and not begun.match(path.name)):
        raise RunError(f"{folder} holds {held[0]} and is no run; give the run a folder of its own with --out")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time, and no leftovers of one that was killed."""
    busy = RunError(f"another process is training in {folder}; wait for it, or give another --out")
    with lock(folder / LOCK, busy, patience=0.0):
        remove_leftovers(folder)
        yield
