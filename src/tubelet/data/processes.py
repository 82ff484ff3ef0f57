"""Work spread over processes that can be killed: one bad item costs its own result and nothing else."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any

from tubelet.errors import TubeletError

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
RECYCLE = 500  # items after which a worker makes place for a fresh one: decoders of bad files leak a little


@dataclass(frozen=True)
class Failure:
    """Why an item has no result."""

    reason: str


def start_method() -> str:
    """A fork is instant and needs no main guard, but is only safe while this process has one thread and no CUDA."""
    torch = sys.modules.get("torch")
    cuda = torch is not None and torch.cuda.is_initialized()
    alone = threading.active_count() == 1 and not cuda
    methods = multiprocessing.get_all_start_methods()
    preferred = "fork" if alone and sys.platform == "linux" else "forkserver"
    return preferred if preferred in methods else "spawn"


def run_each(
    function: Callable[[Any], Any], items: Sequence[Any], workers: int, limit: float
) -> Iterator[tuple[int, Any]]:
    """(index, result) as they come; `Failure` where the function raised, crashed, or took longer than `limit` s."""
    context = multiprocessing.get_context(start_method())
    queue = iter(range(len(items)))
    crew: list[Worker] = []
    try:
        for _ in range(min(workers, len(items))):
            worker = Worker(context, function, limit)
            crew.append(worker)
            worker.give(queue, items)
        while busy := [worker for worker in crew if worker.index is not None]:
            for ready in wait([worker.pipe for worker in busy]):
                worker = next(worker for worker in busy if worker.pipe is ready)
                index, outcome = worker.take()
                if worker.spent:
                    worker.stop()
                    crew.remove(worker)
                    worker = Worker(multiprocessing.get_context(start_method()), function, limit)
                    crew.append(worker)
                worker.give(queue, items)
                yield index, outcome
    finally:
        for worker in crew:
            worker.stop()


class Worker:
    """One process, and the item it is at."""

    def __init__(self, context: BaseContext, function: Callable[[Any], Any], limit: float) -> None:
        self.limit = limit
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, function, limit), daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()
        self.index: int | None = None
        self.done = 0
        self.broken = False

    @property
    def spent(self) -> bool:
        return self.broken or self.done >= RECYCLE

    def give(self, queue: Iterator[int], items: Sequence[Any]) -> None:
        self.index = next(queue, None)
        if self.index is not None:
            with contextlib.suppress(BrokenPipeError):  # take() will say what became of it
                self.pipe.send(items[self.index])

    def take(self) -> tuple[int, Any]:
        index, self.index = self.index, None
        assert index is not None
        self.done += 1
        try:
            return index, self.pipe.recv()
        except (EOFError, OSError):
            self.broken = True
            self.process.join(5)
            code = self.process.exitcode
            if code == -signal.SIGALRM:
                return index, Failure(f"took longer than {self.limit:g} s")
            return index, Failure(f"its decoder crashed ({signal_name(code)})")

    def stop(self) -> None:
        self.pipe.close()
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def serve(pipe: Connection, function: Callable[[Any], Any], limit: float) -> None:
    """The life of a worker. The kernel's own alarm ends it, wherever in foreign code it may hang."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    while True:
        while not pipe.poll(5):
            if parent is not None and not parent.is_alive():
                return
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            outcome = function(item)
        except TubeletError as error:
            outcome = Failure(str(error))
        except Exception as error:
            outcome = Failure(f"{type(error).__name__}: {error}")
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            pipe.send(outcome)
        except (BrokenPipeError, OSError):
            return


def die_with_parent() -> None:
    """A killed parent takes its workers along, by the kernel's hand where there is one for it (Linux).

    A worker that is sending, or at work, does not look up; and a fork holds its siblings' pipes and its parent's
    locks open, so that those left behind would wait for each other for ever, and the next run for them.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it died before the line above
        os._exit(1)


def signal_name(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def cores() -> int:
    """How many processes can run at once here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
