"""Measures of a frozen encoder. Features are computed once and shared. The list below is the registry."""

from tubelet.evaluations.attentive import Attentive
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.captioning import Captioning
from tubelet.evaluations.completion import Completion
from tubelet.evaluations.cross_retrieval import CrossRetrieval
from tubelet.evaluations.energy import Energy
from tubelet.evaluations.features import Features
from tubelet.evaluations.few_shot import FewShot
from tubelet.evaluations.knn import Knn
from tubelet.evaluations.linear import Linear
from tubelet.evaluations.low_label import LowLabel
from tubelet.evaluations.missing import Missing
from tubelet.evaluations.propagation import Propagation
from tubelet.evaluations.reconstruction import Reconstruction
from tubelet.evaluations.retrieval import Retrieval
from tubelet.evaluations.segmentation import Segmentation
from tubelet.evaluations.streaming import Streaming
from tubelet.evaluations.views import Multiview
from tubelet.evaluations.zero_shot import ZeroShot

EVALUATIONS: tuple[type[Evaluation], ...] = (
    Linear,
    Attentive,
    Knn,
    FewShot,
    LowLabel,
    Multiview,
    ZeroShot,
    Retrieval,
    CrossRetrieval,
    Captioning,
    Missing,
    Segmentation,
    Propagation,
    Reconstruction,
    Completion,
    Energy,
    Streaming,
)

__all__ = [
    "EVALUATIONS",
    "Attentive",
    "Captioning",
    "Completion",
    "Context",
    "CrossRetrieval",
    "Energy",
    "Evaluation",
    "Features",
    "FewShot",
    "Knn",
    "Linear",
    "LowLabel",
    "Missing",
    "Multiview",
    "Propagation",
    "Reconstruction",
    "Retrieval",
    "Segmentation",
    "Streaming",
    "ZeroShot",
]
