"""Measures of a frozen encoder. Features are computed once and shared. The list below is the registry."""

from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.features import Features
from tubelet.evaluations.few_shot import FewShot
from tubelet.evaluations.knn import Knn
from tubelet.evaluations.linear import Linear
from tubelet.evaluations.low_label import LowLabel
from tubelet.evaluations.reconstruction import Reconstruction
from tubelet.evaluations.retrieval import Retrieval
from tubelet.evaluations.views import Multiview

EVALUATIONS: tuple[type[Evaluation], ...] = (Linear, Knn, FewShot, LowLabel, Multiview, Retrieval, Reconstruction)

__all__ = [
    "EVALUATIONS",
    "Context",
    "Evaluation",
    "Features",
    "FewShot",
    "Knn",
    "Linear",
    "LowLabel",
    "Multiview",
    "Reconstruction",
    "Retrieval",
]
