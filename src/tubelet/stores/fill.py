"""What fills a corpus with maps and tracks: a task per video, its pieces through worker processes, rows in shards.

What exists is not computed again; interrupted at any moment, the same call resumes; an unreadable video costs its own
row and nothing else. Workers, limits and remembered failures are those of every job (`tubelet.jobs.runner`). Start
reading at `fill_videos`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.failures import FAILED, Failures
from tubelet.jobs.runner import Done, Running, Work, run_job
from tubelet.jobs.tasks import Task, Tasks, file_key
from tubelet.progress import Progress, silent
from tubelet.stores.layers import LayersWriter

Map = tuple[Float[np.ndarray, "..."], Float64[np.ndarray, "_"]]
"""The values and timestamps of one map."""


@dataclass(frozen=True)
class Filled:
    """What a call of `Source.fill` did."""

    maps: tuple[str, ...]  # their names
    videos: int  # that have all of these maps now
    computed: int  # maps written by this call
    failed: Mapping[str, str]  # id: reason
    done: Done
    method: str = ""  # how the maps were made, for people
    model: str | None = None  # identity of the model that made them
    captions: int | None = None  # distinct texts with an embedding, of text maps
    notes: tuple[str, ...] = ()


def usable(corpus: Corpus) -> Sequence[Video]:
    """All readable videos."""
    if videos := corpus.select("all"):
        return videos
    raise CorpusError(f"{corpus.folder} has no usable video: see status and reason in its videos.parquet")


def task_of(video: Video, pieces: Sequence[Any], about: Any = None) -> Task:
    """A video as a task."""
    return Task(file_key(video.path, video.id, video.start, video.end), video.id, tuple(pieces), about, video)


def single(task: Task, found: list[Mapping[tuple[str, str], Map]]) -> Mapping[tuple[str, str], Map]:
    """The maps of a task of one piece."""
    return found[0]


def fill_videos(
    corpus: Corpus,
    writers: Mapping[str, LayersWriter],
    pieces: Callable[[Video], Sequence[Any]],
    work: Work,
    running: Running | None = None,
    progress: Progress = silent,
) -> Filled:
    """Writes the maps, of no caption, of the usable videos that lack one of them. Tasks carry the frame rate."""
    tasks = Tasks(usable(corpus), lambda video: task_of(video, pieces(video), video.fps))

    def there(task: Task) -> bool:
        return all(writer.has(task.of, "") for writer in writers.values())

    return fill_maps(writers, tasks, work, there, running, progress)


def fill_maps(
    writers: Mapping[str, LayersWriter],
    tasks: Sequence[Task],
    work: Work,
    there: Callable[[Task], bool],
    running: Running | None = None,
    progress: Progress = silent,
) -> Filled:
    """Writes the maps of each video, by name of the series and text: that is what `work.whole` makes of a task."""
    gone: dict[str, str] = {}
    failures = Failures.of(next(iter(writers.values())).folder / FAILED, running.part if running else None)
    count = 0

    def keep(results: Sequence[tuple[Task, Mapping[tuple[str, str], Map]]]) -> None:
        nonlocal count
        for task, maps in results:
            video: Video = task.of
            for (name, text), (values, times) in maps.items():
                try:
                    writers[name].add(video, text, values, times)
                except (OSError, VideoError) as error:
                    gone[video.id] = f"the file disappeared during the job ({error})"
                    break
                count += 1
        for writer in writers.values():
            writer.flush()

    work = replace(work, whole=partial(finite, work.whole))
    done = run_job(work, tasks, keep, there=there, failures=failures, running=running, progress=progress)
    for writer in writers.values():
        writer.finish()
    failed = {done.names[key]: failure.reason for key, failure in done.failed.items()} | gone
    return Filled(tuple(writers), len(tasks) - len(failed), count, failed, done)


def finite(whole: Callable[[Task, list[Any]], Any], task: Task, found: list[Any]) -> Mapping[tuple[str, str], Map]:
    """The maps of a task. Values that cannot be stored fail their video, not the job."""
    maps: Mapping[tuple[str, str], Map] = whole(task, found)
    largest = float(np.finfo(np.float16).max)
    for (name, _), (values, _) in maps.items():
        if not (np.abs(values) <= largest).all():
            raise VideoError(f"its {name} map holds NaN or values beyond float16")
    return maps
