"""What the encoder is trained for. The lists below are the registry."""

from tubelet.objectives.base import Objective, Sizes, TextHead
from tubelet.objectives.contrast import Contrast
from tubelet.objectives.cpc import Cpc
from tubelet.objectives.criticised import Criticised
from tubelet.objectives.denoise import Denoise
from tubelet.objectives.pixels import Pixels
from tubelet.objectives.predict import Predict
from tubelet.objectives.variational import Variational
from tubelet.objectives.when import WHENS, Alternate, Always, Ramp, When

OBJECTIVES: tuple[type[Objective], ...] = (Pixels, Predict, Denoise, Criticised, Variational, Contrast, Cpc)

__all__ = [
    "OBJECTIVES",
    "WHENS",
    "Alternate",
    "Always",
    "Contrast",
    "Cpc",
    "Criticised",
    "Denoise",
    "Objective",
    "Pixels",
    "Predict",
    "Ramp",
    "Sizes",
    "TextHead",
    "Variational",
    "When",
]
