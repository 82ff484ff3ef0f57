"""What the encoder is trained for. The list below is the registry."""

from tubelet.objectives.base import Objective
from tubelet.objectives.contrast import Contrast
from tubelet.objectives.pixels import Pixels

OBJECTIVES: tuple[type[Objective], ...] = (Pixels, Contrast)

__all__ = ["OBJECTIVES", "Contrast", "Objective", "Pixels"]
