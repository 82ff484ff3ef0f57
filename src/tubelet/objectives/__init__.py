"""What the encoder is trained for. The lists below are the registry."""

from tubelet.objectives.base import Objective, Sizes, TextHead
from tubelet.objectives.captioning import Captioning
from tubelet.objectives.contrast import Contrast
from tubelet.objectives.cpc import Cpc
from tubelet.objectives.criticised import Criticised
from tubelet.objectives.denoise import Denoise
from tubelet.objectives.distil_global import DistilGlobal
from tubelet.objectives.distil_tokens import DistilTokens
from tubelet.objectives.instance import InstanceContrast
from tubelet.objectives.match import Match
from tubelet.objectives.negatives import NEGATIVES, InBatch, Nearest, Negatives, Queue
from tubelet.objectives.nodes import Nodes
from tubelet.objectives.pixels import Pixels
from tubelet.objectives.predict import Predict
from tubelet.objectives.quantise import Quantise
from tubelet.objectives.regress import Regress
from tubelet.objectives.variational import Variational
from tubelet.objectives.when import WHENS, Alternate, Always, Ramp, When

OBJECTIVES: tuple[type[Objective], ...] = (
    Pixels, Predict, Denoise, Criticised, Variational, Quantise, Contrast, InstanceContrast, Regress, Cpc,
    DistilTokens, DistilGlobal, Match, Nodes, Captioning,
)  # fmt: skip

__all__ = [
    "NEGATIVES",
    "OBJECTIVES",
    "WHENS",
    "Alternate",
    "Always",
    "Captioning",
    "Contrast",
    "Cpc",
    "Criticised",
    "Denoise",
    "DistilGlobal",
    "DistilTokens",
    "InBatch",
    "InstanceContrast",
    "Match",
    "Nearest",
    "Negatives",
    "Nodes",
    "Objective",
    "Pixels",
    "Predict",
    "Quantise",
    "Queue",
    "Ramp",
    "Regress",
    "Sizes",
    "TextHead",
    "Variational",
    "When",
]
