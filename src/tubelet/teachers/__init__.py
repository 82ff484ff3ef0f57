"""Second networks without gradient that look at the same clips. The list below is the registry."""

from tubelet.teachers.aligned import Aligned
from tubelet.teachers.base import Teacher, TeacherModule
from tubelet.teachers.frozen import Frozen
from tubelet.teachers.frozen_joint import FrozenJoint
from tubelet.teachers.momentum import Momentum
from tubelet.teachers.none import NoTeacher
from tubelet.teachers.tokenizer import Tokenizer

TEACHERS: tuple[type[Teacher], ...] = (NoTeacher, Momentum, Frozen, FrozenJoint, Tokenizer, Aligned)

__all__ = [
    "TEACHERS",
    "Aligned",
    "Frozen",
    "FrozenJoint",
    "Momentum",
    "NoTeacher",
    "Teacher",
    "TeacherModule",
    "Tokenizer",
]
