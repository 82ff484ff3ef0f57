"""InBatch: both views of all other clips of the forward pass, on all ranks (NT-Xent: SimCLR, arXiv 2002.05709)."""

import chz

from tubelet.objectives.negatives.base import Candidates, Negatives, NegativesModule


@chz.chz
class InBatch(Negatives):
    """Against a teacher's keys, only these: the views of the queries' own side are another network's."""

    def build(self, width: int) -> "OfBatch":
        return OfBatch()


class OfBatch(NegativesModule):
    def candidates(self, keys: Candidates, queries: Candidates | None) -> Candidates:
        return keys if queries is None else keys + queries
