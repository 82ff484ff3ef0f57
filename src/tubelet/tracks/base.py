"""What all sources of tracks share. They fill a corpus as `stores.fill` says. Start reading at `TrackSource`."""

from collections.abc import Sequence
from typing import ClassVar

import chz

from tubelet.corpus.table import Corpus
from tubelet.jobs.runner import Running
from tubelet.progress import Progress, silent
from tubelet.stores.fill import Filled
from tubelet.stores.tracks import Tracks


@chz.chz
class TrackSource:
    """A frozen config that says where a track comes from, and fills that of a corpus."""

    word: ClassVar[str]  # that names it on the command line
    remedy: ClassVar[str] = "repair the files and run this again (--retry-failed tries them as they are)"

    def fill(self, corpus: Corpus, running: Running | None = None, progress: Progress = silent) -> Filled:
        """Computes the track of the usable videos of the corpus that lack it."""
        raise NotImplementedError


def without(corpus: Corpus, name: str) -> tuple[str, ...]:
    """What is said of the videos that have no such signal."""
    videos = corpus.select("all")
    silent_ones = Tracks.open(corpus, name).without(videos)
    return (f"{named(silent_ones, len(videos))} no {name}; training leaves them out",) if silent_ones else ()


def named(ids: Sequence[str], total: int) -> str:
    """As "12 of 300 videos (first: a) have"."""
    return f"{len(ids)} of {total} videos (first: {ids[0]}) have"
