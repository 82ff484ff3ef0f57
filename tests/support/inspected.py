"""A corpus of two seconds that a test inspects, with text maps, an aligner and a file that no browser plays."""

from pathlib import Path

import numpy as np

from support.aligners import aligned
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.corpus.write import write_corpus
from tubelet.stores.maps import MapsWriter
from tubelet.video.writer import write_video

# Clips, and an encoder that is made in no time.
WORDS = ["clip.size=64", "clip.frames=4", "encoder.width=48", "encoder.depth=1", "encoder.heads=2"]
RATE, FRAMES = 20, 40
CAPTIONS = ("a red square", "a blue disc", "a red star")


def make_inspected(folder: Path) -> Corpus:
    """Three videos of 96x64 pixels, the last as MPEG-4 in AVI; four text maps a second."""
    rng = np.random.default_rng(1)
    rows, captions = [], []
    for number, caption in enumerate(CAPTIONS):
        name = "clip 2.avi" if number == 2 else f"clip {number}.mp4"
        frames = rng.integers(0, 255, (FRAMES, 4, 6, 3)).repeat(16, 1).repeat(16, 2).astype(np.uint8)
        write_video(folder / name, frames, RATE, codec="mpeg4" if number == 2 else "libx264")
        rows.append(
            {"id": name, "path": folder / name, "end": FRAMES / RATE, "fps": float(RATE), "frames": FRAMES, "width": 96,
             "height": 64, "split": "test" if number == 1 else "train"}
        )  # fmt: skip
        captions.append({"video": name, "text": caption})
    corpus = write_corpus(folder / "corpus", "inspected", rows, captions)
    with MapsWriter(corpus, "text", "scalar", {"reading": "random numbers"}) as maps:
        for video in corpus.videos:
            for caption in corpus.captions_of(video):
                values = rng.random((8, 4, 6), dtype=np.float32)
                maps.add(video, normalise_text(caption.text), values, np.arange(8) / 4)
        maps.finish()
    aligned(corpus)
    return corpus
