"""A tiny aligner of random weights in a corpus's folder, and the embeddings of its captions by it."""

import numpy as np
import torch

from tubelet.aligners.config import Shape
from tubelet.aligners.small import SmallAligner, Towers
from tubelet.aligners.vocabulary import Vocabulary
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.stores.embeddings import EmbeddingsWriter

JOINT = 6


def aligned(corpus: Corpus) -> SmallAligner:
    torch.manual_seed(0)
    words = Vocabulary.of([caption.text for caption in corpus.captions])
    shape = Shape(side=16, width=8, depth=1, text_width=8, joint=JOINT)
    aligner = SmallAligner(shape, words, Towers(shape, words.size))
    aligner.save(corpus.folder / "aligner")
    with EmbeddingsWriter(corpus, aligner.identity, aligner.width) as writer:
        for text in sorted({normalise_text(caption.text) for caption in corpus.captions}):
            writer.add(text, aligner.texts([text])[0].numpy().astype(np.float32))
        writer.finish()
    return aligner
