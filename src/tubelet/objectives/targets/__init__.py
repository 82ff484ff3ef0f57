"""What is predicted of hidden tubelets. The list below is the registry."""

from tubelet.objectives.targets.base import PixelTarget, Scores, Standardised, Target
from tubelet.objectives.targets.codes import Codes
from tubelet.objectives.targets.difference import Difference
from tubelet.objectives.targets.features import Features
from tubelet.objectives.targets.ids import Ids
from tubelet.objectives.targets.per_colour import PerColour
from tubelet.objectives.targets.per_tubelet import PerTubelet
from tubelet.objectives.targets.raw import Raw
from tubelet.objectives.targets.unit import Unit

TARGETS: tuple[type[Target], ...] = (PerColour, PerTubelet, Raw, Unit, Difference, Features, Codes, Ids)

__all__ = [
    "TARGETS",
    "Codes",
    "Difference",
    "Features",
    "Ids",
    "PerColour",
    "PerTubelet",
    "PixelTarget",
    "Raw",
    "Scores",
    "Standardised",
    "Target",
    "Unit",
]
