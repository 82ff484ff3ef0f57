"""Several looks at one video: pieces spread over its time, squares spread along its longer side.

VideoMAE tests 5 pieces x 3 squares where labels are of whole videos (Kinetics), 2 x 3 on Something-Something.
"""

from dataclasses import dataclass

from tubelet.errors import RecipeError


@dataclass(frozen=True)
class View:
    """`time` is the share of what is possible at which the clip begins (None: in the middle), `index` the share of
    the longer side at which its square lies."""

    time: float | None = None
    index: float = 0.5


CENTRE = View()


def spread(segments: int, crops: int) -> tuple[View, ...]:
    """`segments` x `crops` views, both ends among them; one is the middle."""
    if segments < 1 or crops < 1:
        raise RecipeError(f"views are at least 1x1, as in 5x3, not {segments}x{crops}")
    times = [None] if segments == 1 else [number / (segments - 1) for number in range(segments)]
    indices = [0.5] if crops == 1 else [number / (crops - 1) for number in range(crops)]
    return tuple(View(time, index) for time in times for index in indices)


def parse(text: str) -> tuple[View, ...]:
    """`5x3`: five pieces, three squares."""
    segments, x, crops = text.partition("x")
    if not x or not segments.isdecimal() or not crops.isdecimal():
        raise RecipeError(f"views={text} does not fit: write pieces x squares, as in 5x3 or 1x1")
    return spread(int(segments), int(crops))
