"""An objective is a frozen config that builds a module; the module owns its head and its loss."""

from typing import ClassVar

import chz
from torch import nn

from tubelet.errors import RecipeError
from tubelet.types import Clip


@chz.chz
class Objective:
    """With weight 0 an objective is neither built nor computed."""

    needs_text: ClassVar[bool] = False  # the loader must supply caption embeddings
    prices: ClassVar[bool] = False  # its loss says what each decoded tubelet cost, in `Loss.per_tubelet`

    weight: float = chz.field(default=1.0, doc="factor of this loss in the sum; 0 leaves it out")

    @chz.validate
    def _not_negative(self) -> None:
        if not self.weight >= 0:
            raise RecipeError(f"the weight of {type(self).__name__} is {self.weight}; it must be 0 or more")

    @property
    def factor(self) -> float:
        """What the task multiplies the loss with; 0 means that the objective is off."""
        return self.weight

    @property
    def observes(self) -> bool:
        """Whether the encoder learns nothing of this loss. The module then has `observing = True`: its gradients are
        clipped apart from all others."""
        return False

    def build(self, width: int, clip: Clip, text_width: int | None) -> nn.Module:
        """A module from `Encoded` to `Loss`, for an encoder of this width and caption embeddings of that one.

        The loss is a mean over the clips it is given; the loop weighs the ranks by theirs.
        """
        raise NotImplementedError
