"""The runner of every job: shards whole or not at all, failures remembered, any engine."""

import faulthandler
import os
import pickle
import signal
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import VideoError
from tubelet.jobs.failures import Failures
from tubelet.jobs.pool import Failure, Pool
from tubelet.jobs.runner import Limits, Running, Work, do_shard, run_job
from tubelet.jobs.tasks import Shard, Task, Tasks, file_key, into_shards


def look(piece: Any) -> Any:
    match piece:
        case "refuse":
            raise VideoError("no frame of it can be decoded")
        case "large":
            return float(np.ones(1 << 25).sum())  # 256 MiB
        case "crash":
            faulthandler.disable()
            os.kill(os.getpid(), signal.SIGSEGV)
        case Path() as once if not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)  # as somebody else would
    return piece if isinstance(piece, Path) else piece * 2


def then(task: Task, found: int) -> int:
    return found + task.about


def whole(task: Task, parts: list[int]) -> int:
    if sum(parts) == 13:
        raise VideoError("thirteen")
    return sum(parts)


WORK = Work(look, then, whole)


def tasks_of(*pieces: Any) -> list[Task]:
    return [Task(f"{number:032x}", f"video {number}", (piece,), 0) for number, piece in enumerate(pieces)]


def cluster(work: Work, lazy: Iterable[Shard], limits: Limits) -> Iterator[tuple[int, int, Any]]:
    """Another engine: shards as bytes, the last first, as a cluster's workers may have it."""
    shards = list(lazy)
    for number in reversed(range(len(shards))):
        sent = pickle.dumps((work, shards[number]))
        for index, result in enumerate(pickle.loads(pickle.dumps(do_shard(*pickle.loads(sent))))):
            yield number, index, result


@pytest.mark.parametrize("engine", [None, cluster])
def test_pieces_become_tasks_and_tasks_shards_whoever_does_the_work(engine: Any) -> None:
    tasks = [Task(f"{n:032x}", f"video {n}", tuple(range(n)), n) for n in range(1, 30)]
    kept: list[list[tuple[str, int]]] = []
    running = Running() if engine is None else Running(engine=engine)
    done = run_job(WORK, tasks, lambda some: kept.append([(t.key, r) for t, r in some]), running=running)
    assert (done.total, done.made, dict(done.failed)) == (29, 29, {})
    expected = [[(t.key, sum(2 * piece + t.about for piece in t.pieces)) for t in s.tasks] for s in into_shards(tasks)]
    assert sorted(kept) == expected
    assert len(expected) == 4


def test_what_failed_is_remembered_and_not_tried_again_unless_asked(tmp_path: Path) -> None:
    failed = tmp_path / "failed.jsonl"
    flag = tmp_path / "flag"
    tasks = tasks_of(1, "refuse", "crash", 2, 6.5)
    run = partial(run_job, WORK, tasks, lambda some: None, there=lambda task: task.about)
    done = run(failures=Failures(failed))
    assert {done.names[key]: (f.status, f.reason) for key, f in done.failed.items()} == {
        "video 1": ("unreadable", "no frame of it can be decoded"),
        "video 2": ("crashed", "its decoder crashed (SIGSEGV)"),
        "video 4": ("unreadable", "thirteen"),
    }
    assert done.remembered == 0
    with failed.open("a") as file:
        file.write('{"key": "cut')
    again = run(failures=Failures(failed))
    assert (again.made, again.remembered, dict(again.failed)) == (2, 3, dict(done.failed))
    assert "3 failed, 3 of them before, not tried again (--retry-failed does)" in again.summary("videos")
    flag.touch()
    tasks[1] = Task(tasks[1].key, "video 1", (flag,), 0)
    good = Work(look)
    retried = run_job(good, tasks[:2], lambda some: None, failures=Failures(failed), running=Running(retry_failed=True))
    assert (retried.made, dict(retried.failed)) == (2, {})
    assert Failures(failed).get(tasks[1].key) is None, "what succeeds is forgotten"
    assert Failures(failed).get(tasks[2].key) is not None


def test_a_killed_worker_costs_nothing_where_the_file_is_good(tmp_path: Path) -> None:
    kept: list[Any] = []
    tasks = tasks_of(*(tmp_path / f"{n}" for n in range(12)))
    done = run_job(Work(look), tasks, kept.extend)
    assert dict(done.failed) == {}
    assert [result for _, result in sorted(kept, key=lambda pair: pair[0].key)] == [[t.pieces[0]] for t in tasks]


def test_a_file_that_wants_too_much_memory_fails_alone() -> None:
    running = Running(Limits(memory=128 << 20))
    done = run_job(Work(look), tasks_of("large", 1, 2), lambda some: None, running=running)
    (failure,) = done.failed.values()
    assert failure == Failure("took more than 0.125 GiB of memory", "too large")
    assert done.made == 2
    assert run_job(Work(look), tasks_of("large"), lambda some: None).made == 1


def test_interrupted_work_keeps_what_is_whole() -> None:
    kept: list[Any] = []

    def stop(done: int, total: int, remark: str = "") -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(Work(look), tasks_of(*range(100)), kept.extend, progress=stop)
    assert len(kept) == 3


def test_progress_tells_of_failures_as_they_come() -> None:
    told: list[tuple[int, int, str]] = []

    def hear(done: int, total: int, remark: str = "") -> None:
        told.append((done, total, remark))

    run_job(Work(look), tasks_of("refuse", 1, "refuse"), lambda some: None, progress=hear, running=one_worker())
    assert told == [(0, 3, ""), (1, 3, "1 failed"), (2, 3, "1 failed"), (3, 3, "2 failed")]


def one_worker() -> Running:
    return Running(Limits(workers=1))


def test_a_mistake_of_the_program_is_no_failure_of_a_file() -> None:
    def wrong(task: Task, found: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_job(Work(look, wrong), tasks_of(1), lambda some: None)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2000), st.integers(1, 400))
def test_shards_hold_every_task_once_in_order(count: int, most: int) -> None:
    tasks = [Task(str(number), "", ()) for number in range(count)]
    shards = into_shards(tasks, most)
    assert [task for shard in shards for task in shard.tasks] == tasks
    assert all(len(shard.tasks) <= most for shard in shards)


def test_a_key_changes_with_the_file_and_the_question(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    os.utime(path, (1, 1))
    keys = {file_key(path), file_key(path, 1.0), file_key(tmp_path / "gone")}
    os.utime(path, (2, 2))
    keys.add(file_key(path))
    assert len(keys) == 4
    assert file_key(path) == file_key(path)


def test_a_job_ends_soon_after_its_last_task() -> None:
    began = time.monotonic()
    run_job(Work(look), tasks_of(*range(20)), lambda some: None)
    assert time.monotonic() - began < 20


def test_a_failure_is_remembered_whatever_signs_are_in_its_name(tmp_path: Path) -> None:
    task = Task("0" * 32, "line\u2028separated\x85 twice", ("refuse",), 0)
    Failures(tmp_path / "failed.jsonl").add(task, Failure("no frame\u2029of it"))
    known = Failures(tmp_path / "failed.jsonl").get(task.key)
    assert known == Failure("no frame\u2029of it")


def test_tasks_are_made_as_workers_have_room_for_them_and_not_kept() -> None:
    made: list[int] = []

    def task_of(number: int) -> Task:
        made.append(number)
        return Task(f"{number:032x}", f"video {number}", (number,), 0)

    ahead: list[int] = []
    done = run_job(
        Work(look),
        Tasks(range(100_000, 102_000), task_of),
        lambda results: ahead.append(len(made)),
        running=Running(Limits(workers=2)),
    )
    assert done.made == 2000
    assert 2000 <= len(made) <= 2010, "each once, but for those that the checks of types look at"
    assert ahead[0] <= 3 * 40 + 10, "a shard is 40 tasks; two are in hand, and a few are looked at by checks of types"


def test_a_pool_serves_items_again_and_again_with_the_same_workers() -> None:
    with Pool(pid, 2, 60.0) as pool:
        first, again = (dict(pool.each(range(20))) for _ in range(2))
        assert sorted(first) == list(range(20))
        assert len(set(first.values()) | set(again.values())) == 2


def pid(_: int) -> int:
    return os.getpid()
