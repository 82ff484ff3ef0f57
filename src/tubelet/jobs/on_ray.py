"""Shards of a job to the actors of a Ray cluster, or of this machine where there is none.

An actor is made once and lives as long as the job, and so do its own pool of processes, which has the same limits as
any other, and the model that it got with the work. An actor that dies takes nothing along but its shard, which goes to
another; after a second death, its tasks go one by one, so that what kills actors fails alone. Start reading at `OnRay`.
"""

import contextlib
import os
import pickle
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tubelet.errors import RunError
from tubelet.jobs.pool import TRIES, Failure, Pool, cores
from tubelet.jobs.runner import Work, do_tasks
from tubelet.jobs.tasks import Shard, Task
from tubelet.video.limits import CRASHED, Limits


@dataclass(frozen=True)
class OnRay:
    """The engine `ray`: `Running(engine=OnRay(gpus=1))`. `limits.workers` is how many actors there are (None: one for
    each core, or for each share of a GPU that it asks for); the cores are divided among them."""

    gpus: float | int = 0  # of each actor

    def __call__(self, work: Work, shards: Iterable[Shard], limits: Limits) -> Iterator[tuple[int, int, Any]]:
        with connected() as ray:
            actors = Actors(ray, work, limits, self.gpus)
            try:
                yield from actors.each(shards)
            finally:
                actors.end()


@dataclass(frozen=True)
class Errand:
    """What an actor is asked for: these tasks of a shard."""

    number: int
    shard: Shard
    positions: tuple[int, ...]

    def one_by_one(self) -> "list[Errand]":
        return [replace(self, positions=(position,)) for position in self.positions]


class Actors:
    def __init__(self, ray: Any, work: Work, limits: Limits, gpus: float | int) -> None:
        there = ray.cluster_resources()
        cpus = int(there.get("CPU", 1))
        if gpus and there.get("GPU", 0) < gpus:
            raise RunError(f"Ray has {there.get('GPU', 0):g} GPUs, and each worker asks for {gpus:g}")
        self.count = limits.workers or max(1, int(there["GPU"] / gpus) if gpus else cpus)
        self.limits = replace(limits, workers=max(1, cpus // self.count))
        look = Carried(ray.cloudpickle.dumps(work.look))
        self.ray, self.work = ray, ray.put(replace(work, look=look))
        self.kind = ray.remote(num_cpus=min(self.limits.workers or 1, cpus), num_gpus=gpus)(Actor)
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, Errand]] = {}

    def each(self, shards: Iterable[Shard]) -> Iterator[tuple[int, int, Any]]:
        errands = (Errand(number, shard, tuple(range(len(shard.tasks)))) for number, shard in enumerate(shards))
        again: deque[Errand] = deque()
        deaths: Counter[tuple[int, ...]] = Counter()
        while True:
            while len(self.busy) < self.count:
                errand = again.popleft() if again else next(errands, None)
                if errand is None:
                    break
                actor = self.idle.pop() if self.idle else self.kind.remote(self.work, self.limits)
                tasks = [errand.shard.tasks[position] for position in errand.positions]
                self.busy[actor.do.remote(tasks)] = actor, errand
            if not self.busy:
                return
            (ready,), _ = self.ray.wait(list(self.busy), num_returns=1)
            actor, errand = self.busy.pop(ready)
            try:
                results = self.ray.get(ready)
            except self.ray.exceptions.RayTaskError as error:  # a mistake of the program
                raise error.cause or error from None
            except self.ray.exceptions.RayActorError as error:
                if error.actor_init_failed:
                    raise RunError(f"a Ray worker could not begin: {str(error).strip().splitlines()[-1]}") from error
                name = (errand.number, *errand.positions)
                deaths[name] += 1
                if deaths[name] < TRIES:
                    again.append(errand)
                elif len(errand.positions) > 1:
                    again.extend(errand.one_by_one())
                else:
                    yield errand.number, errand.positions[0], Failure("its worker died, twice", CRASHED)
            else:
                self.idle.append(actor)
                yield from ((errand.number, at, found) for at, found in zip(errand.positions, results, strict=True))

    def end(self) -> None:
        for actor in (*self.idle, *(actor for actor, _ in self.busy.values())):
            with contextlib.suppress(Exception):  # Ray itself may be gone
                self.ray.kill(actor)


class Actor:
    """Runs where Ray puts it."""

    def __init__(self, work: Work, limits: Limits) -> None:
        self.work = work
        self.pool = Pool(work.look, limits.workers or 1, limits.seconds, limits.memory)

    def do(self, tasks: Sequence[Task]) -> list[Any]:
        return do_tasks(self.work, tasks, self.pool.each)


@dataclass
class Carried:
    """A function as the bytes that Ray makes of it, also of one that stands in the user's own script, which processes
    of an actor could not import."""

    sent: bytes

    def __call__(self, piece: Any) -> Any:
        if "function" not in vars(self):
            self.function = pickle.loads(self.sent)
        return self.function(piece)


@contextlib.contextmanager
def connected() -> Iterator[Any]:
    """Ray as this process has it, or the cluster of `RAY_ADDRESS`, or one of this machine alone, for as long as the
    block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise RunError("the engine ray needs Ray; install it with `pip install 'tubelet[ray]'`") from None
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not os.environ.get("RAY_ADDRESS"):
        paths = {"env_vars": {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}}
        quiet |= {"num_cpus": cores(), "include_dashboard": False, "runtime_env": paths}
    ray.init(**quiet)
    try:
        yield ray
    finally:
        ray.shutdown()
