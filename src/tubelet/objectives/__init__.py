"""What the encoder is trained for. The list below is the registry."""

from tubelet.objectives.base import Objective
from tubelet.objectives.pixels import Pixels

OBJECTIVES: tuple[type[Objective], ...] = (Pixels,)

__all__ = ["OBJECTIVES", "Objective", "Pixels"]
