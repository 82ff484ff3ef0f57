"""Work in processes that may hang, crash or raise."""

import contextlib
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tubelet.errors import VideoError
from tubelet.jobs import pool
from tubelet.jobs.pool import Failure, run_each


def work(item: Any) -> Any:
    match item:
        case "raise":
            raise ValueError("bad value")
        case "refuse":
            raise VideoError("no frame of it can be decoded")
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(1)
    return item * 2


def test_one_bad_item_costs_only_its_own_result() -> None:
    items = [1, "raise", 2, "crash", 3, "hang", 4, "refuse", 5]
    began = time.monotonic()
    found = dict(run_each(work, items, 2, 1.0))
    assert time.monotonic() - began < 30
    assert {k: v for k, v in found.items() if not isinstance(v, Failure)} == {0: 2, 2: 4, 4: 6, 6: 8, 8: 10}
    assert found[1] == Failure("ValueError: bad value")
    assert found[3] == Failure("its decoder crashed (SIGKILL)", "crashed")
    assert found[5] == Failure("took longer than 1 s", "too slow")
    assert found[7] == Failure("no frame of it can be decoded")


def test_there_may_be_more_workers_than_items_or_no_items() -> None:
    assert list(run_each(work, [], 4, 5.0)) == []
    assert list(run_each(work, [21], 4, 5.0)) == [(0, 42)]


KILLED = """
import multiprocessing, sys, time
from tubelet.jobs.pool import run_each

def large(item):
    return bytes(20_000_000)

if __name__ == "__main__":
    lock = open(sys.argv[1], "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    for _ in run_each(large, range(20), 2, 100.0):
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(100)
"""


def test_a_killed_parent_leaves_no_worker_and_no_lock_behind(tmp_path: Path) -> None:
    """Both workers are sending what nobody takes any more, and hold what their parent had open."""
    script, lock = tmp_path / "killed.py", tmp_path / "lock"
    script.write_text("import fcntl" + KILLED)
    process = subprocess.Popen([sys.executable, script, lock], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = process.stdout.readline().split()
    assert len(workers) == 2
    process.kill()
    process.wait()
    process.stdout.close()
    with lock.open("w") as file:
        for _ in range(100):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.1)
    for worker in workers:
        os.kill(int(worker), signal.SIGKILL)
    pytest.fail("the workers outlived their parent, and hold its lock")


def test_leaving_early_leaves_no_process_behind() -> None:
    before = set(multiprocessing.active_children())
    results = run_each(work, [1, "hang", 2], 2, 60.0)
    next(results)
    assert len(set(multiprocessing.active_children()) - before) == 2
    results.close()
    assert set(multiprocessing.active_children()) <= before


def test_workers_of_a_process_with_threads_find_imported_what_that_process_had_imported():
    program = """
import threading, time
import tubelet.loading.loader
from tubelet.jobs.pool import run_each, start_method
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
if __name__ == "__main__":
    assert start_method() == "forkserver"
    print(dict(run_each(eval, ["'torch' in __import__('sys').modules"], workers=1, limit=60)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "{0: True}\n"


def variable(name: str) -> str | None:
    return os.environ.get(name)


def test_workers_have_the_environment_of_this_moment_whenever_their_server_began(monkeypatch):
    monkeypatch.setattr(pool, "start_method", lambda: "forkserver")
    assert list(run_each(variable, ["TUBELET_LATE"], 1, 60.0)) == [(0, None)]
    monkeypatch.setenv("TUBELET_LATE", "set since")
    assert list(run_each(variable, ["TUBELET_LATE"], 1, 60.0)) == [(0, "set since")]
