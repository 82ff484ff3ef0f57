"""Schedule: a mask that changes while the model learns, from easy to hard (HPM, arXiv 2304.05919) or back.

`first` and `last` are the same masker with other numbers: a ratio, a temperature, the weights of a blend. Each number
moves from one to the other with the share of the steps that is done. Invariant: the mask is a function of the step, so
a resumed run continues it and all clips of a step hide equally many; at the start it is `first`, at the end `last`.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import chz
from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.maskers.base import Masker
from tubelet.maskers.random import Random
from tubelet.types import Batch, Budget, Clip


@chz.chz
class Schedule(Masker):
    first: Masker = chz.field(default_factory=lambda: Random(ratio=0.5), doc="the mask of the first step")
    last: Masker = chz.field(default_factory=lambda: Random(ratio=0.9), doc="the mask at the end, of the same class")
    until: float = chz.field(default=1.0, doc="share of the steps after which it is `last`")
    shape: Literal["line", "cosine"] = chz.field(default="line", doc="how it gets from one to the other")

    @chz.validate
    def _sensible(self) -> None:
        one, other = type(self.first), type(self.last)
        if one is not other:
            raise RecipeError(
                f"masker.first={one.__name__} and masker.last={other.__name__} must be the same masker: "
                "name one class at both ends"
            )
        if one.build is not Masker.build:
            raise RecipeError(f"masker.first={one.__name__} is learned, and a schedule cannot change it")
        for name in chz.chz_fields(one):
            start, end = getattr(self.first, name), getattr(self.last, name)
            if start != end and not (is_number(start) and is_number(end)) and not isinstance(start, Mapping):
                raise RecipeError(
                    f"masker.first.{name}={start} and masker.last.{name}={end} have nothing between them; "
                    "only numbers change"
                )
        if not 0 < self.until <= 1:
            raise RecipeError(f"masker.until={self.until} must be above 0 and at most 1")

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(dict.fromkeys((*self.first.needs, *self.last.needs)))

    def at(self, progress: float) -> Masker:
        """The masker when this share of the steps is done."""
        share = min(progress / self.until, 1.0)
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        if share >= 1:
            return self.last
        pairs = {name: (getattr(self.first, name), getattr(self.last, name)) for name in chz.chz_fields(self.first)}
        return chz.replace(self.first, **{name: between(*pair, share) for name, pair in pairs.items()})

    def budget(self, clip: Clip) -> Budget:
        """That of the end; both ends must be possible."""
        self.first.budget(clip)
        return self.last.budget(clip)

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        return self.at(batch.progress).scores(batch, clip, key, tokens)


def between(start: Any, end: Any, share: float) -> Any:
    """A number on the way from one to the other, whole where both are; of mappings, entry by entry."""
    if start == end:
        return start
    if isinstance(start, Mapping):
        return {name: between(start.get(name, 0.0), end.get(name, 0.0), share) for name in {**start, **end}}
    value = start + (end - start) * share
    return round(value) if isinstance(start, int) and isinstance(end, int) else value


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
