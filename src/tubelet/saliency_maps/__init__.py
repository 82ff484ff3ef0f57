"""Where saliency maps come from. The list below is the registry: `tubelet saliency CORPUS Text aligner=...`."""

from tubelet.saliency_maps.attention import Attention
from tubelet.saliency_maps.base import Filled, Source
from tubelet.saliency_maps.flow import Flow
from tubelet.saliency_maps.imported import Imported
from tubelet.saliency_maps.motion import Motion
from tubelet.saliency_maps.noise import Noise
from tubelet.saliency_maps.oracle import Oracle
from tubelet.saliency_maps.parts import Parts
from tubelet.saliency_maps.text import Text

SOURCES: tuple[type[Source], ...] = (Text, Motion, Flow, Attention, Oracle, Parts, Noise, Imported)

__all__ = ["SOURCES", "Attention", "Filled", "Flow", "Imported", "Motion", "Noise", "Oracle", "Parts", "Source", "Text"]
