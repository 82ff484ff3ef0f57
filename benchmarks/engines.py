"""What an engine costs beside the work: motion maps of clips, and tasks that do nothing.

python benchmarks/engines.py FOLDER --clips 100 --tasks 5000 --engines local ray

Clips of 2 s are made in FOLDER once. Each engine has two workers; seconds on the clock, of a process that has Ray
already connected, and the seconds that connecting took.
"""

import argparse
import shutil
import time
from pathlib import Path

import numpy as np

from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.jobs.on_ray import OnRay, connected
from tubelet.jobs.runner import Running, Work, local, run_job
from tubelet.jobs.tasks import Task, Tasks
from tubelet.saliency_maps import Motion
from tubelet.video.limits import Limits
from tubelet.video.writer import write_video


def nothing(piece: int) -> int:
    return piece


def task_of(number: int) -> Task:
    return Task(f"{number:032x}", f"task {number}", (number,))


def clips(folder: Path, count: int) -> Corpus:
    rows = []
    for number in range(count):
        path = folder / f"{number:04}.mp4"
        if not path.exists():
            frames = np.random.default_rng(number).integers(0, 256, (48, 15, 20, 3)).repeat(8, 1).repeat(8, 2)
            write_video(path, frames.astype(np.uint8), 24.0)
        rows.append({"id": path.stem, "path": path, "end": 2.0, "fps": 24.0, "frames": 48, "width": 160, "height": 120})
    return write_corpus(folder / "corpus", "engines", rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--engines", nargs="+", default=["local", "ray"])
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    corpus = clips(args.folder, args.clips)
    for name in args.engines:
        if name == "local":
            measure(name, corpus, args.tasks, Running(Limits(workers=2), engine=local))
            continue
        began = time.monotonic()
        with connected():
            print(f"{name}: connected in {time.monotonic() - began:.1f} s", flush=True)
            measure(name, corpus, args.tasks, Running(Limits(workers=2), engine=OnRay()))


def measure(name: str, corpus: Corpus, tasks: int, running: Running) -> None:
    shutil.rmtree(corpus.folder / "maps", ignore_errors=True)
    done = Motion(cells=7).fill(corpus, running).done
    print(f"{name}: motion maps of {done.made} clips in {done.seconds:.1f} s", flush=True)
    done = run_job(Work(nothing), Tasks(range(tasks), task_of), lambda results: None, running=running)
    print(f"{name}: {done.made} tasks that do nothing in {done.seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
