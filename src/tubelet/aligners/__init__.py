"""An aligned image-text space: the small one that is learned from a corpus's own captions, and CLIP's."""

from tubelet.aligners.base import Aligner, open_aligner, similarity

__all__ = ["Aligner", "open_aligner", "similarity"]
