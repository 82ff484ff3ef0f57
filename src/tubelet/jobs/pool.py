"""Work spread over processes that can be killed: one bad item costs its own result and nothing else."""

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from tubelet.errors import TubeletError
from tubelet.video.limits import CHOSEN, CRASHED, MEMORY, TOO_LARGE, TOO_SLOW, Limits

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
RECYCLE = 500  # items after which a worker makes place for a fresh one: decoders of bad files leak a little
TRIES = 2  # of an item whose worker was killed: it may have been the worker's fault, or somebody else's


@dataclass(frozen=True)
class Failure:
    """Why an item has no result; `status` says it in a word or two for a table."""

    reason: str
    status: str = "unreadable"


def start_method() -> str:
    """A fork is instant and needs no main guard, but is only safe while this process has one thread and no CUDA."""
    torch = sys.modules.get("torch")
    cuda = torch is not None and torch.cuda.is_initialized()
    alone = threading.active_count() == 1 and not cuda
    methods = multiprocessing.get_all_start_methods()
    preferred = "fork" if alone and sys.platform == "linux" else "forkserver"
    return preferred if preferred in methods else "spawn"


def start_context() -> BaseContext:
    """How workers are started. A fork server imports what this process has of tubelet once, not every worker anew."""
    context = multiprocessing.get_context(start_method())
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["__main__", *(name for name in sys.modules if name.startswith("tubelet."))])
    return context


def run_each(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, limit: float, memory: int = MEMORY
) -> Iterator[tuple[int, Any]]:
    """(index, result) as they come; `Failure` where the function raised, crashed, or took more than `limit` seconds
    or `memory` bytes. Items are asked for as workers become free.

    An item whose worker was killed is tried once more: nobody can tell a crash from a kill that meant the worker.
    """
    with Pool(function, workers, limit, memory) as pool:
        yield from pool.each(items)


class Pool:
    """Workers for one function, which stay for further items until the end of the `with` block."""

    def __init__(self, function: Callable[[Any], Any], workers: int, limit: float, memory: int = MEMORY) -> None:
        self.function, self.workers, self.limit, self.memory = function, workers, limit, memory
        self.crew: list[Worker] = []

    def each(self, items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """As `run_each`."""
        queue = enumerate(items)
        tries: Counter[int] = Counter()
        for number in range(self.workers):
            if (job := next(queue, None)) is None:
                break
            if number == len(self.crew):
                self.crew.append(self.worker())
            self.crew[number].give(job)
        while busy := [worker for worker in self.crew if worker.job is not None]:
            for ready in wait([worker.pipe for worker in busy]):
                worker = next(worker for worker in busy if worker.pipe is ready)
                (index, item), outcome = worker.take()
                if worker.spent:
                    worker.stop()
                    self.crew.remove(worker)
                    worker = self.worker()
                    self.crew.append(worker)
                if isinstance(outcome, Failure) and outcome.status == CRASHED:
                    tries[index] += 1
                    if tries[index] < TRIES:
                        worker.give((index, item))
                        continue
                worker.give(next(queue, None))
                yield index, outcome

    def worker(self) -> "Worker":
        return Worker(start_context(), self.function, self.limit, self.memory)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *stop: object) -> None:
        for worker in self.crew:
            worker.stop()
        self.crew.clear()


class Worker:
    """One process, and the item it is at."""

    def __init__(self, context: BaseContext, function: Callable[[Any], Any], limit: float, memory: int) -> None:
        self.limit = limit
        self.pipe, theirs = context.Pipe()
        mine = theirs, function, limit, memory, dict(os.environ)
        self.process = context.Process(target=serve, args=mine, daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()
        self.job: tuple[int, Any] | None = None  # number and item
        self.done = 0
        self.broken = False

    @property
    def spent(self) -> bool:
        return self.broken or self.done >= RECYCLE

    def give(self, job: tuple[int, Any] | None) -> None:
        self.job = job
        if job is not None:
            with contextlib.suppress(BrokenPipeError):  # take() will say what became of it
                self.pipe.send(job[1])

    def take(self) -> tuple[tuple[int, Any], Any]:
        job, self.job = self.job, None
        assert job is not None
        self.done += 1
        try:
            outcome = self.pipe.recv()
            self.broken = isinstance(outcome, Failure) and outcome.status == TOO_LARGE  # it may hold what it took
            return job, outcome
        except (EOFError, OSError):
            self.broken = True
            self.process.join(5)
            code = self.process.exitcode
            if code == -signal.SIGALRM:
                return job, Failure(f"took longer than {self.limit:g} s", TOO_SLOW)
            return job, Failure(f"its decoder crashed ({signal_name(code)})", CRASHED)

    def stop(self) -> None:
        self.pipe.close()
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def serve(
    pipe: Connection, function: Callable[[Any], Any], limit: float, memory: int, environment: dict[str, str]
) -> None:
    """The life of a worker. The kernel's own alarm ends it, wherever in foreign code it may hang."""
    os.environ.clear()  # a fork server has that of its own beginning, without credentials that were set since
    os.environ.update(environment)
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    give_memory(memory)
    CHOSEN.set(Limits(1, limit, memory))
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
        outcome = attempt(function, item, memory)
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            pipe.send(outcome)
        except (BrokenPipeError, OSError):
            return


def attempt(function: Callable[[Any], Any], item: Any, memory: int = MEMORY) -> Any:
    """The result, or why there is none."""
    try:
        return function(item)
    except MemoryError:
        return Failure(f"took more than {memory / 2**30:.3g} GiB of memory", TOO_LARGE)
    except TubeletError as error:
        return Failure(str(error), getattr(error, "status", "unreadable"))
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}")


def give_memory(more: int) -> None:
    """From here on, the kernel refuses this process more than `more` further bytes (Linux): libraries then raise or
    exit, and the machine does not run out of memory.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        used = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData"))
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = used * 1024 + more
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


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
