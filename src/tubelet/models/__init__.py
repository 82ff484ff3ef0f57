"""The VideoMAE-compatible vision transformer: tubelets, encoder, light decoder."""

from tubelet.models.decoder import Decoder, Reconstructor
from tubelet.models.encoder import Base, Encoder, Large, Small, Tiny, Vit

__all__ = ["Base", "Decoder", "Encoder", "Large", "Reconstructor", "Small", "Tiny", "Vit"]
