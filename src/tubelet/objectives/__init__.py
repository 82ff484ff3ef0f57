"""What the encoder is trained for. The lists below are the registry."""

from tubelet.objectives.base import Objective, Sizes, TextHead
from tubelet.objectives.contrast import Contrast
from tubelet.objectives.pixels import Pixels
from tubelet.objectives.predict import Predict
from tubelet.objectives.when import WHENS, Alternate, Always, Ramp, When

OBJECTIVES: tuple[type[Objective], ...] = (Pixels, Predict, Contrast)

__all__ = [
    "OBJECTIVES",
    "WHENS",
    "Alternate",
    "Always",
    "Contrast",
    "Objective",
    "Pixels",
    "Predict",
    "Ramp",
    "Sizes",
    "TextHead",
    "When",
]
