"""Text for every video: from files that people wrote, from class names, or from a model that looks at frames.

The list below is the registry; `tubelet.captioning.job` runs one over a corpus.
"""

from tubelet.captioning.base import Captioner, Written
from tubelet.captioning.files import Files
from tubelet.captioning.job import Captioned, Captioning, caption
from tubelet.captioning.labels import Descriptions, Templates
from tubelet.captioning.looking import Blip2, ImageToText, VideoToText
from tubelet.captioning.quality import Faults, Filters, faults

CAPTIONERS: tuple[type[Captioner], ...] = (Blip2, ImageToText, VideoToText, Files, Templates, Descriptions)

__all__ = [
    "CAPTIONERS",
    "Blip2",
    "Captioned",
    "Captioner",
    "Captioning",
    "Descriptions",
    "Faults",
    "Files",
    "Filters",
    "ImageToText",
    "Templates",
    "VideoToText",
    "Written",
    "caption",
    "faults",
]
