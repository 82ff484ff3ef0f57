"""The one runner of all jobs over a corpus: videos through worker processes, what is made of them kept in shards.

A job is a plain function and tasks of plain values, one task a video. Tasks are cut into shards in the order of the
table; the results of a shard are kept whole or not at all, so whatever is killed, at most the shards in hand are done
again. What failed is remembered with its reason, and not tried again unless that is asked for or the file changes.

The work itself is done by an engine: `local`, a pool of processes, or anything that gives shards to a cluster, whose
workers call `do_shard`. Start reading at `run_job`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tubelet.errors import RecipeError, TubeletError
from tubelet.jobs import parts
from tubelet.jobs.failures import Failures
from tubelet.jobs.parts import Part, PartFinished
from tubelet.jobs.pool import Failure, attempt, cores, run_each
from tubelet.jobs.tasks import MOST, Shard, T, Task, cut
from tubelet.progress import Progress, silent
from tubelet.video.limits import Limits


def as_found(task: Task, found: Any) -> Any:
    return found


@dataclass(frozen=True)
class Work:
    """What is done with a task: plain functions, so that any engine can carry them to its workers.

    `look` sees a piece in a killable process, `then` what it found of it (task, found), `whole` all that was found of
    a task, in order (task, [found]), `together` the results of a shard at once, for models that take several videos in
    a batch. A local pool runs all but `look`, where models live, in its own process.
    """

    look: Callable[[Any], Any]
    then: Callable[[Task, Any], Any] = as_found
    whole: Callable[[Task, list[Any]], Any] = as_found
    together: Callable[[Sequence[tuple[Task, Any]]], Sequence[Any]] | None = None


Engine = Callable[[Work, Iterable[Shard], Limits], Iterable[tuple[int, int, Any]]]
"""Takes shards as it has room for them, and yields (number of the shard, place in it, result or `Failure`) of every
task, in any order."""


def local(work: Work, shards: Iterable[Shard], limits: Limits) -> Iterator[tuple[int, int, Any]]:
    """A pool of processes on this machine."""
    count = limits.workers or cores()
    yield from in_pool(work, shards, lambda items: run_each(work.look, items, count, limits.seconds, limits.memory))


def in_pool(
    work: Work, shards: Iterable[Shard], each: Callable[[Iterable[Any]], Iterator[tuple[int, Any]]]
) -> Iterator[tuple[int, int, Any]]:
    """A pool gets pieces, not tasks, so one long video keeps all of it busy. The caller sees to `work.together`."""
    tasks: dict[tuple[int, int], Task] = {}  # those in hand, by shard and place in it
    jobs: dict[int, tuple[tuple[int, int], int]] = {}  # task and number of each piece in hand
    left: Counter[tuple[int, int]] = Counter()
    found: dict[tuple[int, int], dict[int, Any]] = {}
    failed: dict[tuple[int, int], Failure] = {}

    def pieces() -> Iterator[Any]:
        index = 0
        for number, shard in enumerate(shards):
            for position, task in enumerate(shard.tasks):
                at = (number, position)
                tasks[at], left[at] = task, len(task.pieces)
                for piece, value in enumerate(task.pieces):
                    jobs[index] = at, piece
                    index += 1
                    yield value

    for index, result in each(pieces()):
        at, piece = jobs.pop(index)
        left[at] -= 1
        if not isinstance(result, Failure) and at not in failed:
            result = here(work.then, tasks[at], result)
        if isinstance(result, Failure):
            failed.setdefault(at, result)
            found.pop(at, None)
        elif at not in failed:
            found.setdefault(at, {})[piece] = result
        if not left[at]:
            del left[at]
            parts = [part for _, part in sorted(found.pop(at, {}).items())]
            task = tasks.pop(at)
            yield *at, failed.pop(at, None) or here(work.whole, task, parts)


def here(stage: Callable[[Task, Any], Any], task: Task, found: Any) -> Any:
    """A stage in this process: what is wrong with a video is its failure, a mistake of the program is one."""
    try:
        return stage(task, found)
    except TubeletError as error:
        return Failure(str(error), getattr(error, "status", "unreadable"))


def do_tasks(
    work: Work, tasks: Sequence[Task], each: Callable[[Iterable[Any]], Iterator[tuple[int, Any]]]
) -> list[Any]:
    """What a worker with a pool of its own does with tasks: the result of each, or its `Failure`."""
    found = {position: result for _, position, result in in_pool(work, [Shard(tuple(tasks))], each)}
    return join(work, tasks, [found[position] for position in range(len(tasks))])


def do_shard(work: Work, shard: Shard) -> list[Any]:
    """What a worker without one does with a shard."""
    return join(work, shard.tasks, [attempt(partial(do_task, work), task) for task in shard.tasks])


def join(work: Work, tasks: Sequence[Task], results: Sequence[Any]) -> list[Any]:
    """The results of a shard after `work.together`, which sees those that are none of a failure."""
    good = [(task, result) for task, result in zip(tasks, results, strict=True) if not isinstance(result, Failure)]
    if work.together is None or not good:
        return list(results)
    joined = iter(work.together(good))
    return [result if isinstance(result, Failure) else next(joined) for result in results]


def do_task(work: Work, task: Task) -> Any:
    return work.whole(task, [work.then(task, work.look(piece)) for piece in task.pieces])


@dataclass(frozen=True)
class Running:
    """How a job is run: the user's choices."""

    limits: Limits = field(default_factory=Limits)
    retry_failed: bool = False
    engine: Engine = local
    part: Part | None = None  # of the job; None: the whole
    merge: bool = False  # what parts have made becomes the result, and nothing is computed


@dataclass(frozen=True)
class Done:
    """What a call of a job did."""

    total: int
    there: int  # tasks whose results stood before
    made: int  # by this call
    failed: Mapping[str, Failure]  # by key, those remembered included
    names: Mapping[str, str]  # of the failed
    remembered: int  # failed before and not tried again
    seconds: float

    def summary(self, unit: str) -> str:
        """The last line of a job."""
        rate = f" ({self.made / self.seconds:.3g} {unit}/s)" if self.made and self.seconds > 0 else ""
        words = [f"{self.made} of {self.total} {unit} done in {duration(self.seconds)}{rate}"]
        if self.there:
            words.append(f"{self.there} stood before")
        if self.failed:
            words.append(f"{len(self.failed)} failed")
        if self.remembered:
            words.append(f"{self.remembered} of them before, not tried again (--retry-failed does)")
        return ", ".join(words)


def run_job(
    work: Work,
    tasks: Sequence[Task],
    keep: Callable[[Sequence[tuple[Task, Any]]], None],
    *,
    there: Callable[[Task], bool] = lambda task: False,
    failures: "Failures | None" = None,
    running: Running | None = None,
    progress: Progress = silent,
    most: int = MOST,
) -> Done:
    """Does all tasks but those that are `there` already; `keep` gets the results of a shard and stores them at once.

    A shard has at most `most` tasks. Interrupted by Ctrl-C, what is whole of the shards in hand is kept too.
    """
    running, failures, began = running or Running(), failures or Failures(None), time.monotonic()
    failed: dict[str, Failure] = {}
    names: dict[str, str] = {}
    shards = cut(tasks, most)
    if running.part is not None:
        if failures.folder is None:
            raise RecipeError("this job keeps nothing between two calls, so it cannot be done in parts")
        parts.begin(failures.folder, running.part)
        shards = running.part.share(shards)
    total = sum(len(shard) for shard in shards)
    standing = remembered = done = 0
    begun, again = False, running.retry_failed and not running.merge
    hand: dict[int, Shard] = {}  # the shards that an engine has
    made: dict[int, list[tuple[int, Any]]] = {}

    def left() -> Iterator[Shard]:
        """What is to be done of each shard, as an engine asks for it."""
        nonlocal standing, remembered, done, begun
        for some in shards:
            todo = []
            for task in some:
                if there(task):
                    standing += 1
                elif (reason := failures.get(task.key)) and not again:
                    failed[task.key], names[task.key] = reason, task.name
                    remembered += 1
                else:
                    todo.append(task)
            done += len(some) - len(todo)
            if todo:
                if not begun:
                    progress(done, total, "")
                begun = True
                yield Shard(tuple(todo))

    def numbered() -> Iterator[Shard]:
        for number, shard in enumerate(left()):
            hand[number] = shard
            yield shard

    def store(number: int) -> int:
        """Keeps what there is of a shard, in order."""
        shard = hand.pop(number)
        results = [(shard.tasks[position], result) for position, result in sorted(made.pop(number), key=first)]
        if running.engine is local:
            tasks = [task for task, _ in results]
            results = list(zip(tasks, join(work, tasks, [result for _, result in results]), strict=True))
        good = [(task, result) for task, result in results if not isinstance(result, Failure)]
        for task, result in results:
            if isinstance(result, Failure):
                failed[task.key], names[task.key] = result, task.name
                failures.add(task, result)
            else:
                failures.forget(task.key)
        if good:
            keep(good)
        return len(good)

    if running.merge:
        if lacking := sum(len(shard.tasks) for shard in left()):
            raise unfinished(failures.folder, lacking, total)
        shards, begun = [], False
    kept = 0
    try:
        for number, position, result in running.engine(work, numbered(), running.limits):
            made.setdefault(number, []).append((position, result))
            if len(made[number]) == len(hand[number].tasks):
                kept += store(number)
            done += 1
            bad = len(failed) + sum(isinstance(r, Failure) for some in made.values() for _, r in some)
            progress(done, total, f"{bad} failed" if bad else "")
    except KeyboardInterrupt:
        for number in list(made):
            store(number)
        raise
    if not begun:
        progress(done, total, "")
    did = Done(total, standing, kept, failed, names, remembered, time.monotonic() - began)
    if running.part is not None and failures.folder is not None:
        missing = parts.finish(failures.folder, running.part)
        raise PartFinished(running.part, failures.folder, missing, did.summary("tasks"))
    return did


def in_parts(job: Callable[[Running], T], running: Running | None) -> T:
    """The result of a job, or of a part of it: that of the whole where this part is the last to finish, else
    `PartFinished` is raised."""
    running = running or Running()
    try:
        return job(running)
    except PartFinished as part:
        if part.missing:
            raise
        folder = part.folder
    found = job(replace(running, part=None, retry_failed=False))
    parts.clear(folder)
    return found


def refuse_parts(running: Running | None, what: str) -> None:
    """For work that is over before it could be shared."""
    if running is not None and running.part is not None:
        raise RecipeError(f"{what} are read by one command; leave out --part")


def unfinished(folder: Path | None, left: int, total: int) -> TubeletError:
    missing = [] if folder is None else parts.missing(folder)
    remedy = "the same command without --merge does what is left"
    if missing:
        remedy = f"run --part {' and --part '.join(map(str, missing))}, or without --part what is left"
    return TubeletError(f"{left} of {total} tasks are not done: {remedy}")


def first(pair: tuple[int, Any]) -> int:
    return pair[0]


def duration(seconds: float) -> str:
    """12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
