"""What every saliency job does alike: a task a video, its pieces through worker processes, its maps to disk in shards.

What exists is not computed again; stopped at any moment, the same call goes on; a bad video costs its own map and
nothing else. Who does the work, and what is remembered of it, is that of every job (`tubelet.jobs.runner`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from tubelet.corpus.table import Corpus, Video
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.runner import FAILED, Done, Failures, Running, Task, Work, file_key, run_job
from tubelet.progress import Progress, silent
from tubelet.stores.maps import MapsWriter

__all__ = ["Filled", "Map", "Running", "alone", "fill_maps", "task_of", "usable"]

Map = tuple[Float[np.ndarray, "..."], Float64[np.ndarray, "_"]]
"""The values and timestamps of one map."""


@dataclass(frozen=True)
class Filled:
    """What a call did."""

    videos: int  # that have all their maps now
    computed: int  # maps made by this call
    failed: Mapping[str, str]  # id: reason
    done: Done


def usable(corpus: Corpus) -> list[Video]:
    """All videos that can be looked at."""
    if videos := list(corpus.select("all")):
        return videos
    raise CorpusError(f"{corpus.folder} has no usable video: see status and reason in its videos.parquet")


def task_of(video: Video, pieces: Sequence[Any], about: Any = None) -> Task:
    """A video as a task."""
    return Task(file_key(video.path, video.id, video.start, video.end), video.id, tuple(pieces), about)


def alone(task: Task, found: list[Mapping[tuple[str, str], Map]]) -> Mapping[tuple[str, str], Map]:
    """The maps of a task of one piece."""
    return found[0]


def fill_maps(
    writers: Mapping[str, MapsWriter],
    videos: Sequence[Video],
    tasks: Sequence[Task],
    work: Work,
    there: Callable[[Task], bool],
    running: Running | None = None,
    progress: Progress = silent,
) -> Filled:
    """Writes the maps of each video, by name of the series and text: that is what `work.whole` makes of a task."""
    of_task = {task.key: video for task, video in zip(tasks, videos, strict=True)}
    gone: dict[str, str] = {}
    failures = Failures(next(iter(writers.values())).folder / FAILED)
    count = 0

    def keep(results: Sequence[tuple[Task, Mapping[tuple[str, str], Map]]]) -> None:
        nonlocal count
        for task, maps in results:
            video = of_task[task.key]
            for (name, text), (values, times) in maps.items():
                try:
                    writers[name].add(video, text, values, times)
                except (OSError, VideoError) as error:
                    gone[video.id] = f"it is gone since it was looked at ({error})"
                    break
                count += 1
        for writer in writers.values():
            writer.flush()

    work = replace(work, whole=partial(finite, work.whole))
    done = run_job(work, tasks, keep, there=there, failures=failures, running=running, progress=progress)
    for writer in writers.values():
        writer.finish()
    failed = {of_task[key].id: failure.reason for key, failure in done.failed.items()} | gone
    return Filled(len(videos) - len(failed), count, failed, done)


def finite(whole: Callable[[Task, list[Any]], Any], task: Task, found: list[Any]) -> Mapping[tuple[str, str], Map]:
    """The maps of a task. Values that cannot be kept are the failure of their video, not of the job."""
    maps: Mapping[tuple[str, str], Map] = whole(task, found)
    largest = float(np.finfo(np.float16).max)
    for (name, _), (values, _) in maps.items():
        if not (np.abs(values) <= largest).all():
            raise VideoError(f"its {name} map holds values that are no numbers, or larger than 16 bits can hold")
    return maps
