"""Words of captions as numbers, without a table: a word has the same number in every corpus and every run."""

import re
import zlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int64

from tubelet.corpus.table import normalise_text
from tubelet.errors import CorpusError

MOST = 0.01  # share of a corpus's words that may have the number of another


def split(text: str) -> list[str]:
    """Words and numbers; other characters separate. Scripts without spaces come out as long words."""
    return re.findall(r"\w+", normalise_text(text))


def number_of(word: str, vocabulary: int) -> int:
    """From 1; 0 is no word."""
    return 1 + zlib.crc32(word.encode()) % (vocabulary - 1)


def numbers_of(text: str, count: int, vocabulary: int) -> Int64[np.ndarray, "{count}"]:
    """Those of the first `count` words of a text, and 0 where it has no more."""
    words = [number_of(word, vocabulary) for word in split(text)[:count]]
    return np.array(words + [0] * (count - len(words)))


def check_vocabulary(texts: Iterable[str], vocabulary: int, where: str) -> None:
    """`CorpusError` where too many of the words of these texts would be taken for another; `where` is the field."""
    words = {word for text in texts for word in split(text)}
    if shared(words, vocabulary) <= MOST:
        return
    enough = vocabulary
    while shared(words, enough) > MOST:
        enough *= 2
    raise CorpusError(
        f"{shared(words, vocabulary):.0%} of the {len(words)} words of these captions would have the number of another "
        f"word; set {where}={enough}"
    )


def shared(words: set[str], vocabulary: int) -> float:
    """The share of words that would be lost among others."""
    return 1 - len({number_of(word, vocabulary) for word in words}) / max(len(words), 1)
