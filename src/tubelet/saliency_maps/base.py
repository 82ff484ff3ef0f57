"""What all saliency sources share. They fill a corpus as `stores.fill` says. Start reading at `Source`."""

from collections.abc import Mapping
from typing import Any, ClassVar

import chz
import numpy as np
from jaxtyping import Float, UInt8

from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError
from tubelet.jobs.runner import Running
from tubelet.progress import Progress, silent
from tubelet.stores.fill import Filled, Map, fill_maps, fill_videos, single, task_of, usable

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
