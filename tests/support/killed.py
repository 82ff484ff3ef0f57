"""Jobs over one folder of videos, each with the trace of what its workers looked at; run as a program, one is killed.

python killed.py JOB FOLDER OUT TRACE [PART]
"""

import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tubelet.aligners.base import open_aligner
from tubelet.corpus.index import index
from tubelet.corpus.table import Corpus
from tubelet.inference.features import write_features
from tubelet.jobs import pool as processes
from tubelet.jobs import runner as jobs
from tubelet.jobs import tasks
from tubelet.jobs.parts import Part
from tubelet.loading.data import Data
from tubelet.models.encoder import Vit
from tubelet.progress import Progress, silent
from tubelet.saliency_maps import text
from tubelet.types import Clip
from tubelet.video.sampling import Sampling

IN_THE_MIDDLE = 7  # of 13 videos, the fourth shard of two in hand


def do(job: str, folder: Path, out: Path, progress: Progress = silent, **chosen: Any) -> jobs.Done:
    """One of the jobs, or a part of it, on two workers."""
    running = jobs.Running(jobs.Limits(workers=2), **chosen)
    return jobs.in_parts(lambda running: do_as(job, folder, out, running, progress), running)


def do_as(job: str, folder: Path, out: Path, running: jobs.Running, progress: Progress) -> jobs.Done:
    if job == "index":
        return index([folder / "videos"], out, running=running, name="killed", progress=progress).done
    if job == "text":
        aligner = open_aligner(folder / "aligner")
        return text.fill_text(Corpus.open(out), aligner, 4.0, running=running, progress=progress).done
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=1, heads=2).build(Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16))
    data = Data(sampling=Sampling(stride=1))
    return write_features(encoder, [folder / "videos"], out, data, batch=2, running=running, progress=progress)[2]


def trace(path: Path, put: Callable[[Any, str, Any], None] = setattr) -> None:
    """From here on, workers write down what they look at; shards are of two."""
    real = processes.run_each

    def traced(function: Any, items: Any, *rest: Any) -> Any:
        return real(functools.partial(note, path, function), items, *rest)

    put(jobs, "run_each", traced)
    put(tasks, "FEWEST", 2)
    put(processes, "start_method", lambda: "fork")


def note(path: Path, function: Any, item: Any) -> Any:
    result = function(item)
    with path.open("a") as file:
        file.write(f"{item.path.name}\n")
    return result


def killing_a_worker() -> jobs.Progress:
    """Once, in the middle."""
    left = [True]

    def progress(done: int, total: int, remark: str = "") -> None:
        if done >= IN_THE_MIDDLE and left:
            left.clear()
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    return progress


def killing_all(done: int, total: int, remark: str = "") -> None:
    if done >= min(IN_THE_MIDDLE, total - 1):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    which, *positions = sys.argv[1:5]
    videos, target, traced_in = map(Path, positions)
    trace(traced_in)
    do(which, videos, target, killing_all, part=Part.parse(sys.argv[5]) if sys.argv[5:] else None)
