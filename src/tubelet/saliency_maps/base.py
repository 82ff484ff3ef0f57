"""What all saliency sources share: a task per video, its pieces through worker processes, its maps to disk in shards.

Maps that exist are not computed again; interrupted at any moment, the same call resumes; an unreadable video costs its
own map and nothing else. Workers, limits and remembered failures are those of every job (`tubelet.jobs.runner`). Start
reading at `Source`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import chz
import numpy as np
from jaxtyping import Float, Float64, UInt8

from tubelet.corpus.table import Corpus, Video
from tubelet.errors import CorpusError, RecipeError, VideoError
from tubelet.jobs.runner import FAILED, Done, Failures, Running, Task, Tasks, Work, file_key, run_job
from tubelet.progress import Progress, silent
from tubelet.stores.maps import MapsWriter

__all__ = [
    "Cells",
    "Engine",
    "Filled",
    "Map",
    "Progress",
    "Running",
    "Source",
    "fill_maps",
    "fill_videos",
    "silent",
    "single",
    "task_of",
    "usable",
]

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


@chz.chz
class Source:
    """A frozen config that says where saliency maps come from, and fills those of a corpus."""

    maps: ClassVar[tuple[str, ...]]  # names of those that it writes
    remedy: ClassVar[str] = "repair the files and run this again (--retry-failed tries them as they are)"

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        """Computes the maps that the usable videos of the corpus lack."""
        raise NotImplementedError


@chz.chz
class Cells(Source):
    """A source whose maps have a grid of any size."""

    cells: int = chz.field(default=14, doc="cells along the short side of a map")

    @chz.validate
    def _cells(self) -> None:
        if self.cells < 1:
            raise RecipeError(f"cells must be at least 1, not {self.cells}")


@chz.chz
class Engine:
    """An optical-flow estimator. It travels to worker processes, so it must pickle."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its output, for the record of the maps; `TubeletError` where it cannot run."""
        raise NotImplementedError

    def __call__(
        self, one: UInt8[np.ndarray, "h w 3"], other: UInt8[np.ndarray, "h w 3"]
    ) -> Float[np.ndarray, "h w 2"]:
        """The displacement (dx, dy), in pixels, from each pixel of `one` to the same content in `other`."""
        raise NotImplementedError


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
    writers: Mapping[str, MapsWriter],
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
    writers: Mapping[str, MapsWriter],
    tasks: Sequence[Task],
    work: Work,
    there: Callable[[Task], bool],
    running: Running | None = None,
    progress: Progress = silent,
) -> Filled:
    """Writes the maps of each video, by name of the series and text: that is what `work.whole` makes of a task."""
    gone: dict[str, str] = {}
    failures = Failures.of(next(iter(writers.values())).folder / FAILED, running)
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
