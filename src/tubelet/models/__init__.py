"""The VideoMAE-compatible vision transformer: tubelets, encoder, decoders, classifier. `DECODERS` is a registry."""

from tubelet.models.average import Average
from tubelet.models.classifier import Classifier
from tubelet.models.cross import Cross
from tubelet.models.decoder import Decoder, Reconstructor
from tubelet.models.encoder import Base, Encoder, Giant, Huge, Large, Small, Tiny, Vit
from tubelet.models.others import OtherEncoder, WholeClipEncoder
from tubelet.models.shuffled import Shuffled

DECODERS: tuple[type[Decoder], ...] = (Decoder, Cross, Shuffled)

__all__ = [
    "DECODERS",
    "Average",
    "Base",
    "Classifier",
    "Cross",
    "Decoder",
    "Encoder",
    "Giant",
    "Huge",
    "Large",
    "OtherEncoder",
    "Reconstructor",
    "Shuffled",
    "Small",
    "Tiny",
    "Vit",
    "WholeClipEncoder",
]
