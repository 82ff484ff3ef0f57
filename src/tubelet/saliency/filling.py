"""What every saliency job does alike: videos in pieces through worker processes, a map to disk when its video is whole.

What exists is not computed again; stopped at any moment, the same call goes on; a bad video costs its own map and
nothing else. A job says what a worker does with a piece (`whole_videos`) and how maps come of it (`write`).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from tubelet.data.maps import MapsWriter
from tubelet.data.processes import Failure, cores, run_each
from tubelet.data.table import Corpus, Video
from tubelet.errors import CorpusError

LIMIT = 300.0  # seconds that one piece may take
FLUSH_SECONDS = 20.0  # of work that a power cut may cost

Progress = Callable[[int, int], None]
quiet: Progress = lambda done, total: None  # noqa: E731
Map = tuple[Float[np.ndarray, "..."], Float64[np.ndarray, "_"]]
"""The values and timestamps of one map."""


@dataclass(frozen=True)
class Filled:
    """What a call did."""

    videos: int  # that have all their maps now
    computed: int  # maps made by this call
    failed: Mapping[str, str]  # id: reason


def usable(corpus: Corpus) -> list[Video]:
    """All videos that can be looked at."""
    if videos := list(corpus.select("all")):
        return videos
    raise CorpusError(f"{corpus.folder} has no usable video: see status and reason in its videos.parquet")


def whole_videos(
    function: Callable[[Any], Any],
    pieces: Sequence[Sequence[Any]],
    then: Callable[[int, Any], Any] = lambda place, result: result,
    limit: float = LIMIT,
) -> Iterator[tuple[int, list[Any] | Failure]]:
    """(video, what the function made of its pieces in order), as videos become whole; or why one does not.

    `function` runs in worker processes, `then` in this one, as soon as a piece is there.
    """
    jobs = [(place, number) for place, some in enumerate(pieces) for number in range(len(some))]
    left = [len(some) for some in pieces]
    made: dict[int, dict[int, Any]] = {}
    failed: dict[int, Failure] = {}
    for index, result in run_each(function, [pieces[place][number] for place, number in jobs], cores(), limit):
        place, number = jobs[index]
        left[place] -= 1
        if isinstance(result, Failure):
            failed.setdefault(place, result)
            made.pop(place, None)
        elif place not in failed:
            made.setdefault(place, {})[number] = then(place, result)
        if not left[place]:
            yield place, failed.get(place) or [part for _, part in sorted(made.pop(place).items())]


def write(
    writers: Mapping[str, MapsWriter],
    videos: Sequence[Video],
    made: Iterable[tuple[int, Mapping[tuple[str, str], Map] | Failure]],
    total: int,
    progress: Progress,
) -> dict[str, str]:
    """Writes the maps of each video, by name of the series and text, as they come; returns why some have none."""
    failed: dict[str, str] = {}
    done, flushed = total - len(videos), time.monotonic()
    progress(done, total)
    for place, outcome in made:
        if isinstance(outcome, Failure):
            failed[videos[place].id] = outcome.reason
        else:
            for (name, text), (values, times) in outcome.items():
                writers[name].add(videos[place], text, values, times)
        if time.monotonic() - flushed > FLUSH_SECONDS:
            for writer in writers.values():
                writer.flush()
            flushed = time.monotonic()
        done += 1
        progress(done, total)
    for writer in writers.values():
        writer.finish()
    return failed
