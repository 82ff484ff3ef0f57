"""An objective is a frozen config that builds a module; the module owns its head and its loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import chz
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.objectives.when import Always, When
from tubelet.types import CLIP, Clip


@dataclass(frozen=True)
class Sizes:
    """What an objective is built for: of a stream, its clips and the width of their tokens."""

    clip: Clip
    width: int
    text: int | None = None  # width of the caption embeddings
    streams: Mapping[str, "Sizes"] = field(default_factory=dict)
    teacher: "Sizes | None" = None  # of this stream, as the teacher encodes it
    codes: int | None = None  # of a teacher that is a tokenizer: how many it has
    name: str = ""  # the objective's own in the recipe, by which it logs

    def of(self, stream: str) -> "Sizes":
        return self if stream == CLIP else self.streams[stream]


@chz.chz
class Objective:
    """With weight 0 an objective is neither built nor computed."""

    needs_text: ClassVar[bool] = False  # the loader must supply caption embeddings
    compares_clips: ClassVar[bool] = False  # each with the others of its batch, so that these decide its loss
    gives_per_token_loss: ClassVar[bool] = False  # it fills `Loss.per_token_loss`, from which a learned masker learns

    weight: float = chz.field(default=1.0, doc="factor of this loss in the sum; 0 leaves it out")
    when: When = chz.field(default_factory=Always, doc="loss schedule: in which steps the loss counts, and its factor")

    @chz.validate
    def _not_negative(self) -> None:
        if not self.weight >= 0:
            raise RecipeError(f"the weight of {type(self).__name__} is {self.weight}; it must be 0 or more")

    @property
    def factor(self) -> float:
        """What the task multiplies the loss with; 0 means that the objective is off."""
        return self.weight

    @property
    def detached(self) -> bool:
        """Whether it is a stop-gradient probe head, from which the encoder learns nothing. Its gradients are clipped
        apart from all others."""
        return False

    @property
    def pools_clips(self) -> bool:
        """Whether the other clips of a forward pass, those of other ranks too, have a part in what it learns."""
        return self.compares_clips

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams whose tokens it reads, `CLIP` among them; others are not encoded."""
        return (CLIP,)

    @property
    def values(self) -> tuple[str, ...]:
        """The streams of which it reads the values alone, which need no tower."""
        return ()

    @property
    def taught(self) -> tuple[str, ...]:
        """The streams of which it reads what the teacher makes of them."""
        return ()

    @property
    def reconstructs(self) -> tuple[str, ...]:
        """The streams of which it predicts hidden tubelets, so that something of them must be hidden."""
        return ()

    def build(self, sizes: Sizes) -> nn.Module:
        """A module from `Encoded` to `Loss`.

        The loss is a mean over the clips it is given; the loop weighs the ranks by theirs.
        """
        raise NotImplementedError


class TextHead(nn.Module):
    """The head of an objective that embeds clips and texts in one joint space: what zero-shot classification, search
    and text-video retrieval read of a run."""

    text_width: int  # of the text embeddings that it was trained on

    def embed_video(self, tokens: Float[Tensor, "b k d"]) -> Float[Tensor, "b e"]:
        """Clips in the joint space, of length 1."""
        raise NotImplementedError

    def embed_text(self, text: Float[Tensor, "b w"]) -> Float[Tensor, "b e"]:
        """Text embeddings in the joint space, of length 1."""
        raise NotImplementedError
