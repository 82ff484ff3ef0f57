"""What a view is contrasted with. The list below is the registry."""

from tubelet.objectives.negatives.base import Candidates, Negatives, NegativesModule
from tubelet.objectives.negatives.in_batch import InBatch
from tubelet.objectives.negatives.nearest import Nearest
from tubelet.objectives.negatives.queue import Queue

NEGATIVES: tuple[type[Negatives], ...] = (InBatch, Queue, Nearest)

__all__ = ["NEGATIVES", "Candidates", "InBatch", "Nearest", "Negatives", "NegativesModule", "Queue"]
