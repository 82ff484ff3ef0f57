"""Which frames of the same video a stream shows. The list below is the registry."""

from tubelet.loading.pairings.again import Again
from tubelet.loading.pairings.apart import Apart
from tubelet.loading.pairings.base import Drawn, Pairing, Reads, Shot
from tubelet.loading.pairings.inside import Inside
from tubelet.loading.pairings.same import Same
from tubelet.loading.pairings.scrambled import Scrambled
from tubelet.loading.pairings.still import Still

PAIRINGS: tuple[type[Pairing], ...] = (Same, Again, Inside, Apart, Still, Scrambled)

__all__ = ["PAIRINGS", "Again", "Apart", "Drawn", "Inside", "Pairing", "Reads", "Same", "Scrambled", "Shot", "Still"]
