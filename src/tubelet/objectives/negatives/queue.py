"""Queue: the keys of this forward pass and the last of earlier ones (MoCo, arXiv 1911.05722)."""

import chz

from tubelet.errors import RecipeError
from tubelet.objectives.negatives.base import Candidates, Memory, Negatives


@chz.chz
class Queue(Negatives):
    """Earlier keys of the same video are in it and are left out: no view meets itself as a negative. Ours: it is empty
    at the start, where the official code fills it with noise, and the other keys of the pass count too."""

    size: int = chz.field(default=4096, doc="keys that are kept")

    @chz.validate
    def _positive(self) -> None:
        if self.size < 1:
            raise RecipeError(f"negatives.size={self.size} must be at least 1")

    def build(self, width: int) -> "QueueMemory":
        return QueueMemory(self.size, width)


class QueueMemory(Memory):
    def candidates(self, keys: Candidates, queries: Candidates | None) -> Candidates:
        return keys + self.kept
