"""What pretraining and fine-tuning begin with alike: the ranks, the folder and its lock, the record of what is trained
on. Start reading at `session`, then `start`."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal

from tubelet.corpus.estimate import size
from tubelet.corpus.table import Corpus
from tubelet.distributed import DistributedContext, broadcast_from_rank0, process_group
from tubelet.evaluations.trained_on import FILE, TrainedOn
from tubelet.loading.data import Data
from tubelet.progress import Progress, silent
from tubelet.runs.folder import C, RunConfig, write_run_config
from tubelet.runs.lock import RunLock, lock_run
from tubelet.stores.frame_cache import FOLDER as FRAMES
from tubelet.stores.frame_cache import expected_bytes
from tubelet.types import Clip

Tell = Callable[[str], None]
"""Called with each line that the command line prints."""


def quiet(line: str) -> None:
    pass


@dataclass(frozen=True)
class Session:
    """This process among the ranks of a run. Only the first of them prints."""

    context: DistributedContext
    tell: Tell
    progress: Progress


@contextlib.contextmanager
def session(precision: Literal["auto", "bf16", "fp32"], tell: Tell, progress: Progress) -> Iterator[Session]:
    with process_group():
        context = DistributedContext.here(precision)
        yield Session(context, *((tell, progress) if context.rank == 0 else (quiet, silent)))


@dataclass(frozen=True)
class Started(Generic[C]):
    """A run that this command has locked: what it is, what it is trained on, how far it has come, and who trains it."""

    folder: Path
    config: RunConfig[C]
    lock: RunLock[C]
    finished: bool
    trained_on: TrainedOn | None  # on the first rank
    context: DistributedContext

    @property
    def step(self) -> int:
        return self.lock.step

    @property
    def loop(self) -> C:
        """The config as these ranks share its steps, which are of as many clips as when the run began."""
        return self.config.config.divided(self.lock.run_config.world, self.context.world_size)

    @property
    def steps(self) -> int:
        return self.lock.run_config.steps

    def tell_shared(self, tell: Tell) -> None:
        """How, where others began the run."""
        began, now, loop = self.lock.run_config.world, self.context.world_size, self.loop
        if began != now:
            tell(
                f"{now} {'process shares' if now == 1 else 'processes share'} the steps of a run that {began} began: "
                f"batch={loop.batch} accumulate={loop.accumulate} on each"
            )

    def write(self) -> TrainedOn:
        """Writes what the folder says of a run from its beginning. Returns the record of what it is trained on."""

        def write() -> None:
            assert self.trained_on is not None
            if not self.lock.begun:
                write_run_config(self.folder, self.config)
            self.trained_on.write(self.folder / FILE)

        broadcast_from_rank0(write)
        record = self.trained_on or TrainedOn.read(self.folder / FILE)
        assert record is not None
        return record


@contextlib.contextmanager
def start(
    folder: Path,
    config: RunConfig[C],
    session: Session,
    is_finished: Callable[[RunLock[C]], bool],
    begin: Callable[[RunLock[C]], TrainedOn],  # the record of a run that begins, or that resumes
) -> Iterator[Started[C]]:
    """Takes the folder for this run, or for the same one resuming; one command at a time. Nothing is written before
    `Started.write`, so that what fails earlier leaves nothing behind."""
    with contextlib.ExitStack() as stack:
        record: TrainedOn | None = None

        def take() -> tuple[RunLock[C], bool]:
            nonlocal record
            lock = stack.enter_context(lock_run(folder, config))
            finished = is_finished(lock)
            record = None if finished else begin(lock)
            return lock, finished

        lock, finished = broadcast_from_rank0(take)
        context = replace(session.context, precision=lock.run_config.precision)
        yield Started(folder, config, lock, finished, record, context)
        broadcast_from_rank0(
            lambda: None
        )  # it has written all: what any rank reads of the folder from here on is there


def decoding(tell: Tell, corpus: Corpus, clip: Clip, data: Data) -> Progress:
    """Says what the cache of decoded frames takes before it is made, and how far that is."""
    spoke = [time.monotonic()]

    def progress(done: int, total: int, what: str) -> None:
        if done == 0:
            videos, short_side = corpus.select("all"), data.kept_side(clip)
            tell(
                f"data.cache keeps the decoded frames of {len(videos)} videos at {short_side} pixels: about "
                f"{size(expected_bytes(videos, short_side))} in {corpus.folder / FRAMES}, for this and later runs"
            )
        if done == 0 or done == total or time.monotonic() - spoke[0] > 10:
            spoke[0] = time.monotonic()
            tell(f"decoding the videos once: {done} of {total}")

    return progress
