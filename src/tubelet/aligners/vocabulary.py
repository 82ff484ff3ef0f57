"""Captions as numbers, with no closed vocabulary: a word seen in training has a number of its own, every word the
numbers of its letter groups, so an unseen word stands near the words it is spelt like."""

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from tubelet.corpus.words import split

BUCKETS = 4096
LONGEST = 32  # words of a caption that are read


@dataclass(frozen=True)
class Vocabulary:
    """The words seen in training, in a fixed order."""

    seen: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Vocabulary":
        counts = Counter(word for text in texts for word in split(text))
        return cls(tuple(sorted(counts)))

    def __post_init__(self) -> None:
        object.__setattr__(self, "number", {word: number for number, word in enumerate(self.seen, start=1 + BUCKETS)})

    @property
    def size(self) -> int:
        """How many numbers there are: 0 for nothing, the letter groups' buckets, the words seen."""
        return 1 + BUCKETS + len(self.seen)

    def encode(self, texts: Sequence[str]) -> tuple[Int64[Tensor, "b words parts"], Bool[Tensor, "b words"]]:
        """For every word its own number and those of its letter groups, 0 where there is none; and where words are."""
        numbers: dict[str, int] = self.number  # type: ignore[attr-defined]
        split_texts = [split(text)[:LONGEST] or [""] for text in texts]
        parts = [[[numbers.get(word, 0), *letter_groups(word)] for word in words] for words in split_texts]
        most_words = max(map(len, parts))
        most_parts = max(len(groups) for words in parts for groups in words)
        table = torch.zeros(len(texts), most_words, most_parts, dtype=torch.int64)
        there = torch.zeros(len(texts), most_words, dtype=torch.bool)
        for row, words in enumerate(parts):
            there[row, : len(words)] = True
            for column, groups in enumerate(words):
                table[row, column, : len(groups)] = torch.tensor(groups)
        return table, there


def letter_groups(word: str) -> list[int]:
    """The buckets of the groups of 3 and 4 letters, ends marked, and of the word itself."""
    marked = f"<{word}>"
    groups = [marked[i : i + n] for n in (3, 4) for i in range(len(marked) - n + 1)]
    return [1 + zlib.crc32(group.encode()) % BUCKETS for group in (marked, *groups)]
