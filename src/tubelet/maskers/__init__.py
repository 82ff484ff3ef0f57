"""Every mask of the field on one mechanism: scores, a budget, the top is hidden. The lists below are the registry."""

from tubelet.maskers.adaptive import Adaptive
from tubelet.maskers.adversary import Adversary
from tubelet.maskers.attention import Attention
from tubelet.maskers.base import TOKENS, Decode, Masker, Policy
from tubelet.maskers.blend import Blend
from tubelet.maskers.block import Block
from tubelet.maskers.centre import Centre
from tubelet.maskers.change import Change
from tubelet.maskers.decode import All, RunningCell
from tubelet.maskers.flow import Flow
from tubelet.maskers.frame import Frame, Future, Past
from tubelet.maskers.motion import Motion
from tubelet.maskers.nothing import Nothing
from tubelet.maskers.oracle import Oracle
from tubelet.maskers.part_priority import PartPriority
from tubelet.maskers.parts import Parts
from tubelet.maskers.random import Random
from tubelet.maskers.schedule import Schedule
from tubelet.maskers.smooth_noise import SmoothNoise
from tubelet.maskers.text import Text
from tubelet.maskers.text_frame import TextFrame
from tubelet.maskers.tube import Tube

MASKERS: tuple[type[Masker], ...] = (
    Random,
    Tube,
    Frame,
    Future,
    Past,
    Centre,
    Block,
    SmoothNoise,
    Text,
    TextFrame,
    Motion,
    Flow,
    Oracle,
    Attention,
    Blend,
    Change,
    Parts,
    PartPriority,
    Adaptive,
    Adversary,
    Schedule,
)
DECODES: tuple[type[Decode], ...] = (All, RunningCell)

__all__ = [
    "DECODES",
    "MASKERS",
    "TOKENS",
    "Adaptive",
    "Adversary",
    "All",
    "Attention",
    "Blend",
    "Block",
    "Centre",
    "Change",
    "Decode",
    "Flow",
    "Frame",
    "Future",
    "Masker",
    "Motion",
    "Nothing",
    "Oracle",
    "PartPriority",
    "Parts",
    "Past",
    "Policy",
    "Random",
    "RunningCell",
    "Schedule",
    "SmoothNoise",
    "Text",
    "TextFrame",
    "Tube",
]
