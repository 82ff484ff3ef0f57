"""Every mask of the field on one mechanism: scores, a budget, the top is hidden. The list below is the registry."""

from tubelet.maskers.base import Masker
from tubelet.maskers.random import Random
from tubelet.maskers.text import Text
from tubelet.maskers.tube import Tube

MASKERS: tuple[type[Masker], ...] = (Random, Tube, Text)

__all__ = ["MASKERS", "Masker", "Random", "Text", "Tube"]
