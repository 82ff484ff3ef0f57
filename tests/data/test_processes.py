"""Work in processes that may hang, crash or raise."""

import multiprocessing
import os
import signal
import time
from typing import Any

from tubelet.data.processes import Failure, run_each
from tubelet.errors import VideoError


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
    assert found[3] == Failure("its decoder crashed (SIGKILL)")
    assert found[5] == Failure("took longer than 1 s")
    assert found[7] == Failure("no frame of it can be decoded")


def test_there_may_be_more_workers_than_items_or_no_items() -> None:
    assert list(run_each(work, [], 4, 5.0)) == []
    assert list(run_each(work, [21], 4, 5.0)) == [(0, 42)]


def test_leaving_early_leaves_no_process_behind() -> None:
    before = set(multiprocessing.active_children())
    results = run_each(work, [1, "hang", 2], 2, 60.0)
    next(results)
    assert len(set(multiprocessing.active_children()) - before) == 2
    results.close()
    assert set(multiprocessing.active_children()) <= before
