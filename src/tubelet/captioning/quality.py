"""What is wrong with captions: no words, the same words over and over, the same text again; and what to leave out."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import chz

from tubelet.captioning.base import Row
from tubelet.corpus.table import normalise_text

REPEATS = 3  # times a word or phrase stands in a row before it is a fault
PHRASE = 4  # words of the longest phrase looked for
DISTINCT = 1 / 3  # share of different words below which a text of eight words or more repeats itself


@dataclass(frozen=True)
class Faults:
    """How many captions each fault concerns, with an example: the text and, of shared ones, how many videos have it."""

    captions: int
    empty: int
    degenerate: int
    doubled: int  # texts that a video has before already
    shared: int  # captions whose text another video has too
    example: str  # of a degenerate one
    commonest: tuple[str, int]  # the text that most videos have

    def lines(self) -> list[str]:
        """One line a fault that there is."""
        lines = []
        if self.empty:
            lines.append(f"{self.empty} empty")
        if self.degenerate:
            lines.append(f"{self.degenerate} degenerate (first: {self.example!r})")
        if self.doubled:
            lines.append(f"{self.doubled} that their video has twice")
        if self.shared:
            text, videos = self.commonest
            lines.append(f"{self.shared} whose text several videos have (commonest: {text!r}, {videos} videos)")
        return lines


def faults(rows: Sequence[Row]) -> Faults:
    """What is wrong with these captions."""
    texts = [normalise_text(row["text"]) for row in rows]
    bad = [row["text"] for row, text in zip(rows, texts, strict=True) if text and degenerate(text)]
    pairs = [(row["video"], text) for row, text in zip(rows, texts, strict=True) if text]
    videos = Counter(text for _, text in set(pairs))
    return Faults(
        captions=len(rows),
        empty=texts.count(""),
        degenerate=len(bad),
        doubled=len(pairs) - len(set(pairs)),
        shared=sum(videos[text] > 1 for _, text in pairs),
        example=bad[0] if bad else "",
        commonest=max(videos.items(), key=lambda item: item[1], default=("", 0)),
    )


def degenerate(text: str) -> bool:
    """`a a a a`, `the dog runs the dog runs the dog runs`, or no word at all."""
    said = words(text)
    if not any(word.isalpha() or len(word) > 1 for word in said):
        return True
    if len(said) >= 8 and len(set(said)) < DISTINCT * len(said):
        return True
    for size in range(1, PHRASE + 1):
        for first in range(len(said) - REPEATS * size + 1):
            phrase = said[first : first + size]
            if said[first : first + REPEATS * size] == phrase * REPEATS:
                return True
    return False


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'\w+)?", normalise_text(text))


@chz.chz
class Filters:
    """Which captions stay out of the table. Empty ones always do."""

    degenerate: bool = chz.field(default=False, doc="leave out captions that repeat themselves or hold no word")
    doubled: bool = chz.field(default=False, doc="of equal captions of one video keep the first")
    shortest: int = chz.field(default=1, doc="leave out captions of fewer words")
    longest: int | None = chz.field(default=None, doc="leave out captions of more words")
    shared: int | None = chz.field(default=None, doc="leave out a text that more than this number of videos have")

    def keep(self, rows: Iterable[Row]) -> list[Row]:
        rows = [row for row in rows if row["text"].strip()]
        texts = [normalise_text(row["text"]) for row in rows]
        videos = Counter(text for _, text in {(row["video"], text) for row, text in zip(rows, texts, strict=True)})
        kept, seen = [], set()
        for row, text in zip(rows, texts, strict=True):
            count, pair = len(words(text)), (row["video"], text)
            if (
                (self.degenerate and degenerate(text))
                or (self.doubled and pair in seen)
                or count < self.shortest
                or (self.longest is not None and count > self.longest)
                or (self.shared is not None and videos[text] > self.shared)
            ):
                continue
            seen.add(pair)
            kept.append(row)
        return kept
