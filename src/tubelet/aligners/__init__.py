"""An aligned image-text space: the small one that is learned from a corpus's own captions, and CLIP's."""
