"""How the frames of a file are read, beyond decoding them: said once, when a corpus is made, and kept in its table.

Frames come as FFmpeg decodes them unless something else is asked for, because that is what every other reader of the
field gives: fields of an interlaced file are not parted, and pixels that are not square are not stretched. `Reading` in
the column `reading` is what was asked for, with what a file needs: the rate of an image sequence, or that a file whose
key frames cannot be trusted is decoded from its beginning.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

from tubelet.errors import CorpusError

DEINTERLACE, SQUARE, SEQUENTIAL, RATE = "deinterlace", "square-pixels", "sequential", "fps"
FRAME_RATE = 25.0  # of an image sequence of which nobody says another


@dataclass(frozen=True)
class Reading:
    """What is done to the frames of one file."""

    deinterlace: bool = False  # each interlaced frame made whole by bwdif: one frame a frame, all times stay
    square: bool = False  # stretched so that pixels are square; no side becomes shorter
    sequential: bool = False  # decoding begins with the file, wherever the frames lie
    rate: float | None = None  # frames per second of an image sequence

    @classmethod
    def parse(cls, words: str | None) -> "Reading":
        """From the column of the table."""
        found = cls()
        for word in (words or "").split():
            if word == DEINTERLACE:
                found = replace(found, deinterlace=True)
            elif word == SQUARE:
                found = replace(found, square=True)
            elif word == SEQUENTIAL:
                found = replace(found, sequential=True)
            elif word.startswith(f"{RATE}="):
                found = replace(found, rate=float(Fraction(word.partition("=")[2])))
            else:
                raise CorpusError(f"this version knows no reading {word!r}; index the videos anew")
        return found

    @property
    def words(self) -> str | None:
        """For the column of the table; null where nothing is done."""
        said = [DEINTERLACE] * self.deinterlace + [SQUARE] * self.square + [SEQUENTIAL] * self.sequential
        said += [] if self.rate is None else [f"{RATE}={self.rate!r}"]
        return " ".join(said) or None


def square_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The size at which pixels of this width over height are square: the side that is too short is stretched."""
    if aspect >= 1:
        return round(width * aspect), height
    return width, round(height / aspect)
