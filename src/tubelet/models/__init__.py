"""The VideoMAE-compatible vision transformer: tubelets, encoder, light decoder, classifier."""

from tubelet.models.average import Average
from tubelet.models.classifier import Classifier
from tubelet.models.decoder import Decoder, Reconstructor
from tubelet.models.encoder import Base, Encoder, Large, Small, Tiny, Vit

__all__ = ["Average", "Base", "Classifier", "Decoder", "Encoder", "Large", "Reconstructor", "Small", "Tiny", "Vit"]
