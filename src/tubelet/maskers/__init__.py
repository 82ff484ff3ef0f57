"""Every mask of the field on one mechanism: scores, a budget, the top is hidden. The list below is the registry."""

from tubelet.maskers.base import Masker
from tubelet.maskers.block import Block
from tubelet.maskers.centre import Centre
from tubelet.maskers.frame import Frame, Future
from tubelet.maskers.random import Random
from tubelet.maskers.smooth_noise import SmoothNoise
from tubelet.maskers.text import Text
from tubelet.maskers.tube import Tube

MASKERS: tuple[type[Masker], ...] = (Random, Tube, Frame, Future, Centre, Block, SmoothNoise, Text)

__all__ = ["MASKERS", "Block", "Centre", "Frame", "Future", "Masker", "Random", "SmoothNoise", "Text", "Tube"]
