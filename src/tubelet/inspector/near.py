"""Nearest neighbours and search in the background: the features of a whole corpus may take long when they are not kept
yet, and the page shows how far they are."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field, replace

from tubelet.errors import RunError, TubeletError
from tubelet.inference.search import SearchResult
from tubelet.inspector.subject import Settings


@dataclass
class Work:
    """How far the features of a run are."""

    done: int = 0
    total: int = 0
    error: TubeletError | None = None
    finished: bool = False

    def __call__(self, done: int, total: int, what: str = "") -> None:
        self.done, self.total = done, total


@dataclass(frozen=True)
class Near:
    """Searches of runs; `computes` is what only one thread may do at a time."""

    computes: threading.RLock
    works: dict[str, Work] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)

    def search(self, settings: Settings, find: Callable[[], SearchResult]) -> SearchResult | Work:
        """What is found; while the features are not there yet, how far they are."""
        named = str(settings.run)
        work = self.works.get(named)
        if work is None:
            work = self.works[named] = Work()
            run = copy_context().run
            self.threads.append(
                threading.Thread(target=run, args=(compute, settings, work, self.computes), daemon=True)
            )
            self.threads[-1].start()
        if work.error is not None:
            del self.works[named]
            raise work.error
        if not work.finished:
            return work
        with self.computes:
            return find()

    def wait(self) -> None:
        """Until no features are computed any more."""
        while self.threads:
            self.threads.pop().join()


def compute(settings: Settings, work: Work, computes: threading.RLock) -> None:
    """The features of all videos, into the context that searches read and the folder in which runs keep them."""
    try:
        with computes:
            context = replace(settings.searcher.context, progress=work)
        context.features("all")
        work.finished = True
    except TubeletError as error:
        work.error = error
    except Exception as error:  # a fault, that would end this thread alone and leave the page waiting
        work.error = RunError(f"the features of {settings.name} cannot be computed ({type(error).__name__}: {error})")
