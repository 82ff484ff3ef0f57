"""A tower turns the visible tubelets of a stream into tokens."""

import chz
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from tubelet.models.encoder import Encoder
from tubelet.types import Clip


class TowerModule(nn.Module):
    """It owns weights of its own alone: the clip's encoder is handed to it at each call."""

    def forward(
        self, encoder: Encoder, tubelets: UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b k d"]:
        raise NotImplementedError


@chz.chz
class Tower:
    """A frozen config that builds a module."""

    def width(self, encoder: int) -> int:
        """Of its tokens, beside an encoder of this width."""
        return encoder

    def build(self, encoder: Encoder, clip: Clip) -> TowerModule:
        """For clips of this size, beside this encoder."""
        raise NotImplementedError
