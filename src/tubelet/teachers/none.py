"""NoTeacher: no teacher."""

from collections.abc import Mapping

import chz
from torch import nn

from tubelet.errors import RecipeError
from tubelet.models.encoder import Encoder
from tubelet.teachers.base import Teacher


@chz.chz
class NoTeacher(Teacher):
    def width(self, student: int) -> int:
        raise RecipeError(
            "an objective learns from a teacher, and there is none; name one with teacher=Momentum, or teacher=Frozen "
            "and teacher.init=RUN"
        )

    def build(self, encoder: Encoder, towers: Mapping[str, nn.Module]) -> None:
        return None
