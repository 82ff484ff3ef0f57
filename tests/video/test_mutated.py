"""Damaged files by the hundred in one run: no crash, no hang, memory flat, all accounted for."""

import multiprocessing
import sys
from pathlib import Path

import numpy as np
import pytest

from support.bars import FPS, HEIGHT, WIDTH, moving
from support.mutated import WAYS, mutate, resident, write_mutants
from tubelet.corpus.index import index
from tubelet.jobs.runner import Limits, Running, Work, run_job
from tubelet.saliency_maps.base import task_of
from tubelet.saliency_maps.frames import decode_piece, pieces
from tubelet.video.writer import write_video

GROWTH = 100.0  # MiB that a process may hold more at the end than after the first tenth


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("five")
    frames = moving(20, HEIGHT, WIDTH)
    codecs = {"a.mp4": "libx264", "b.avi": "mpeg4", "c.webm": "libvpx-vp9", "d.mkv": "ffv1", "e.mpg": "mpeg2video"}
    for name, codec in codecs.items():
        rate = 25 if codec == "mpeg2video" else FPS
        write_video(folder / name, frames, rate, codec=codec)
    return [folder / name for name in codecs]


def run(files: list[Path], folder: Path, count: int) -> None:
    """Indexes so many mutants, then looks at the frames of all that still decode."""
    made = write_mutants(folder / "mutants", files, count)
    held: list[tuple[float, float]] = []  # by this process, and by its largest worker

    def weigh(done: int, total: int, remark: str = "") -> None:
        workers = [resident(child.pid or 0) for child in multiprocessing.active_children()]
        held.append((resident(), max(workers, default=0.0)))

    running = Running(Limits(seconds=60.0))
    found = index([folder / "mutants"], folder / "corpus", running=running, progress=weigh)
    videos = found.videos
    assert {video.path for video in videos} == set(made)
    assert len(videos) == count
    assert all(video.reason for video in videos if video.status != "ok")
    assert not {video.status for video in videos} & {"crashed", "too slow", "too large"}
    good = found.select("all")
    assert count / 20 < len(good) < count
    tasks = [task_of(video, pieces(video, 4.0)) for video in good]
    done = run_job(Work(decode_piece, whole=counted), tasks, lambda some: None, running=running, progress=weigh)
    assert done.made + len(done.failed) == len(good)
    assert all(failure.status == "unreadable" for failure in done.failed.values())
    for process in zip(*held, strict=True):
        early = max(process[: max(count // 10, 10)])
        assert max(process) < early + GROWTH


def counted(task: object, parts: list[object]) -> int:
    return len(parts)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_mutants_of_small_files_are_all_accounted_for(five: list[Path], tmp_path: Path) -> None:
    run(five, tmp_path, 100)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_thousand_mutants_are_all_accounted_for(five: list[Path], tmp_path: Path) -> None:
    run(five, tmp_path, 2000)


def test_a_mutant_follows_from_its_number_and_differs_from_the_file(five: list[Path], tmp_path: Path) -> None:
    one, two = (write_mutants(tmp_path / name, five, 40) for name in ("one", "two"))
    originals = [path.read_bytes() for path in five]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    changed = sum(path.read_bytes() != originals[number % 5] for number, path in enumerate(one))
    assert changed > 35, "a block of zeros may meet zeros"
    assert mutate(b"x" * 40, b"y" * 40, "swapped", np.random.default_rng(0)).startswith(b"yyyyyyyy")
    assert len(WAYS) == 4
