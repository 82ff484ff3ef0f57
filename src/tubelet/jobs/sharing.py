"""Corpora that lie in one folder share what belongs to content: decoded frames, maps, embeddings, features.

What a corpus lacks is looked for at the same place of the corpora beside it, by content, before it is made. Nothing is
written there. `TUBELET_SHARE=no` in the environment lets every corpus stand alone.
"""

import os
from pathlib import Path

MARK = "corpus.json"
DEPTH = 4  # folders of a corpus below which its caches lie


def shared(folder: Path) -> list[Path]:
    """The folders of the same name in the corpora beside the one in which this lies; none where it lies in none."""
    if os.environ.get("TUBELET_SHARE") == "no":
        return []
    corpus = next((parent for parent in list(folder.parents)[:DEPTH] if (parent / MARK).is_file()), None)
    if corpus is None:
        return []
    inside = folder.relative_to(corpus)
    try:
        others = sorted(other for other in corpus.parent.iterdir() if other != corpus and (other / MARK).is_file())
    except OSError:
        return []
    return [index for other in others if (index := other / inside).is_dir()]
