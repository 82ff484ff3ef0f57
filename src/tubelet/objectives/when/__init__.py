"""When an objective counts: always, more and more, or every other step. The list at the end is the registry."""

import math
from typing import Literal

import chz

from tubelet.errors import RecipeError
from tubelet.objectives.when.base import When

__all__ = ["WHENS", "Alternate", "Always", "Ramp", "When"]


@chz.chz
class Always(When):
    """In every step."""

    def factor(self, step: int, progress: float) -> float:
        return 1.0


@chz.chz
class Ramp(When):
    """From one factor to another between two moments of the training; before and after, the nearer of the two."""

    first: float = chz.field(default=0.0, doc="factor up to `start`")
    last: float = chz.field(default=1.0, doc="factor from `until` on")
    start: float = chz.field(default=0.0, doc="share of the steps after which it begins to change")
    until: float = chz.field(default=1.0, doc="share of the steps after which it is `last`")
    shape: Literal["line", "cosine"] = chz.field(default="line", doc="how it gets from one to the other")

    @chz.validate
    def _sensible(self) -> None:
        if not 0 <= self.start < self.until <= 1:
            raise RecipeError(f"a ramp from start={self.start:g} to until={self.until:g} must lie within 0 and 1")
        if min(self.first, self.last) < 0:
            raise RecipeError(f"a ramp from first={self.first:g} to last={self.last:g} must not go below 0")

    def factor(self, step: int, progress: float) -> float:
        share = min(max((progress - self.start) / (self.until - self.start), 0.0), 1.0)
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.first + share * (self.last - self.first)


@chz.chz
class Alternate(When):
    """One step of every `period`: objectives with different turns take turns (InternVideo, arXiv 2212.03191)."""

    period: int = chz.field(default=2, doc="steps of a round")
    turn: int = chz.field(default=0, doc="the step of each round in which it counts, from 0")

    @chz.validate
    def _sensible(self) -> None:
        if not 0 <= self.turn < self.period:
            raise RecipeError(f"turn={self.turn} must be one of the {self.period} steps of a round, from 0")

    def factor(self, step: int, progress: float) -> float:
        return float(step % self.period == self.turn)


WHENS: tuple[type[When], ...] = (Always, Ramp, Alternate)
