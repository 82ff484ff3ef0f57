"""A teacher is a second network that sees whole clips and takes no gradient."""

from collections.abc import Mapping, Sequence

import chz
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.models.encoder import Encoder
from tubelet.models.patches import cut
from tubelet.types import Batch, Clip, Encoded, Mask


class TeacherModule(nn.Module):
    """Owned and checkpointed by the task. Its grid is that of the stream it looks at."""

    def tokens(self, video: Shaped[Tensor, "b c t h w"], clip: Clip, stream: str) -> Float[Tensor, "b n d"]:
        """What it makes of a stream, nothing hidden."""
        raise NotImplementedError

    def look(self, views: Mapping[str, tuple[Clip, Batch]], streams: Sequence[str]) -> dict[str, Encoded]:
        """What it makes of some of these streams."""
        return {name: self(batch, clip, name) for name, (clip, batch) in views.items() if name in streams}

    def after_step(self, encoder: Encoder, towers: Mapping[str, nn.Module]) -> None:
        """Called after each step of the optimizer, with what was trained."""

    @torch.no_grad()
    def forward(self, batch: Batch, clip: Clip, stream: str) -> Encoded:
        mask = Mask.all_visible(len(batch), clip.num_tubelets, batch.video.device)
        return Encoded(clip, batch, mask, cut(batch.video, clip), self.tokens(batch.video, clip, stream))


def check_pixels(teacher: "Teacher", clip: Clip, stream: str) -> None:
    """`RecipeError` where a stream of another signal is shown to a teacher that knows frames alone."""
    if clip.track:
        raise RecipeError(
            f"teacher={type(teacher).__name__} looks at frames, and the stream {stream} is a {type(clip).__name__}; "
            "take teacher=Momentum"
        )


@chz.chz
class Teacher:
    """A frozen config that builds a module."""

    def width(self, student: int) -> int:
        """Of its tokens, for a stream whose own have this width."""
        raise NotImplementedError

    @property
    def codes(self) -> int | None:
        """How many codes it has, where it is a tokenizer."""
        return None

    def check(self, clip: Clip, stream: str) -> None:
        """`RecipeError` where it cannot look at clips of this size."""

    def build(self, encoder: Encoder, towers: Mapping[str, nn.Module]) -> TeacherModule | None:
        """None where there is no teacher."""
        raise NotImplementedError
