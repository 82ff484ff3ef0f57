"""The engine `ray`: the results of the local one, whatever is killed; skipped where Ray is not installed."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import on_ray as work
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.errors import RunError
from tubelet.jobs.failures import Failures
from tubelet.jobs.on_ray import OnRay
from tubelet.jobs.runner import Limits, Running, Work, run_job
from tubelet.jobs.tasks import Task
from tubelet.saliency_maps import Noise
from tubelet.stores.maps import Maps

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[Any]:
    """Two cores of this machine."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    paths = {"env_vars": {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=paths)
    yield ray
    ray.shutdown()


def tasks_of(*pieces: Any) -> list[Task]:
    return [Task(f"{number:032x}", f"video {number}", (piece,)) for number, piece in enumerate(pieces)]


def run(what: Work, tasks: list[Task], limits: Limits | None = None, **more: Any) -> tuple[dict[str, Any], Any]:
    kept: dict[str, Any] = {}
    running = Running(limits or Limits(), engine=OnRay(), retry_failed=more.pop("retry_failed", False))
    done = run_job(what, tasks, lambda some: kept.update((t.name, r) for t, r in some), running=running, **more)
    return kept, done


def test_a_killed_worker_and_a_killed_actor_cost_nothing_where_the_files_are_good(tmp_path: Path) -> None:
    pieces = list(range(40))
    pieces[3] = ("kills its worker once", tmp_path / "worker")  # type: ignore[call-overload]
    pieces[13] = ("kills its actor once", tmp_path / "actor")  # type: ignore[call-overload]
    kept, done = run(work.WORK, tasks_of(*pieces))
    assert (done.made, dict(done.failed)) == (40, {})
    assert [kept[f"video {number}"][0][0] for number in range(40)] == pieces
    assert (tmp_path / "worker").exists()
    assert (tmp_path / "actor").exists()


def test_the_pool_of_an_actor_lives_as_long_as_the_actor() -> None:
    kept, _ = run(work.WORK, tasks_of(*range(80)), Limits(workers=1))
    assert len({pid for ((_, pid),) in kept.values()}) == 2, "two cores, so two processes for ten shards"


def test_what_kills_workers_actors_or_patience_fails_alone_and_is_remembered(tmp_path: Path) -> None:
    pieces: list[Any] = list(range(24))
    pieces[2], pieces[5], pieces[9], pieces[20] = "kills its worker", "refuse", "kills its actor", "hang"
    failed = tmp_path / "failed.jsonl"
    _, done = run(work.WORK, tasks_of(*pieces), Limits(seconds=3.0), failures=Failures(failed))
    assert {done.names[key]: (f.status, f.reason) for key, f in done.failed.items()} == {
        "video 2": ("crashed", "its decoder crashed (SIGKILL)"),
        "video 5": ("unreadable", "no frame of it can be decoded"),
        "video 9": ("crashed", "its worker died, twice"),
        "video 20": ("too slow", "took longer than 3 s"),
    }
    assert done.made == 20
    _, again = run(work.WORK, tasks_of(*pieces), failures=Failures(failed), there=lambda task: task.pieces[0] != "hang")
    assert (again.made, again.remembered) == (0, 1)


def test_what_is_made_of_a_shard_together_is_made_in_the_actor() -> None:
    kept, _ = run(work.TOGETHER, tasks_of(*range(16)))
    assert {count for count, _, _ in kept.values()} == {8}
    assert os.getpid() not in {pid for _, pid, _ in kept.values()}


def test_a_mistake_of_the_program_is_one_and_too_few_gpus_are_said() -> None:
    with pytest.raises(ZeroDivisionError, match="of the program"):
        run(work.WORK, tasks_of(1, "mistake"))
    with pytest.raises(RunError, match="Ray has 0 GPUs, and each worker asks for 2"):
        run_job(work.WORK, tasks_of(1), lambda some: None, running=Running(engine=OnRay(gpus=2)))


def test_maps_of_ray_are_those_of_one_machine(make_corpus: Callable[..., Corpus], tmp_path: Path) -> None:
    one, other = make_corpus(tmp_path / "one"), make_corpus(tmp_path / "other")
    Noise(cells=3).fill(one)
    assert main(["saliency", str(other.folder), "Noise", "cells=3", "--engine", "ray"]) == 0
    for video in one.videos:
        pairs = zip(*(Maps.open(c, "noise").layers(c.by_id[video.id]) for c in (one, other)), strict=True)
        for mine, theirs in pairs:
            np.testing.assert_array_equal(mine, theirs)
