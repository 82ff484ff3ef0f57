"""A masker scores every tubelet; the highest scores are hidden, exactly as many as its budget says."""

from typing import ClassVar, Literal

import chz
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tubelet.types import Batch, Budget, Clip, Loss, Mask, floor_share

TOKENS = "tokens"  # in `needs`: what the model supplies: the patch embeddings of every tubelet


@chz.chz
class Masker:
    """A frozen config that does the work itself. A subclass says what it needs, how much it hides, and the scores."""

    needs: ClassVar[tuple[str, ...]] = ()  # names of saliency maps that the loader must supply, or TOKENS
    random: ClassVar[bool] = True  # false: the same mask for every clip

    def budget(self, clip: Clip) -> Budget:
        """How many tubelets are hidden; each method's own rounding."""
        raise NotImplementedError

    def scores(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n"]:
        """High means hide. All noise comes from `key`, one per clip."""
        raise NotImplementedError

    def __call__(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Mask:
        now = self.at(batch.progress)
        for name in now.maps:
            if batch.maps[name].device.type == "cpu" and not torch.isfinite(batch.maps[name]).all():
                raise ValueError(f"{type(now).__name__}: NaN or infinite values in the map {name}")
        return Mask.hide_top(now.scores(batch, clip, key, tokens), now.budget(clip))

    def at(self, progress: float) -> "Masker":
        """The masker when this share of the training's steps is done."""
        return self

    @property
    def maps(self) -> tuple[str, ...]:
        """The saliency maps among what it needs."""
        return tuple(name for name in self.needs if name != TOKENS)

    def build(self, clip: Clip, width: int) -> "Policy | None":
        """What a learned masker draws with, for patch embeddings of this width; None where nothing is learned."""
        return None


Per = Literal["clip", "time_step", "position"]


@chz.chz
class Share(Masker):
    """A masker that hides a share of the clip's tubelets, of every time step's, or of the positions, floored; of the
    whole clip it is the visible ones that are floored."""

    per: ClassVar[Per] = "time_step"
    ratio: float

    def budget(self, clip: Clip) -> Budget:
        if self.per == "clip":
            return Budget(clip.num_tubelets - floor_share(clip.num_tubelets, 1 - self.ratio), "clip", clip.grid)
        return Budget(floor_share(clip.num_positions, self.ratio), self.per, clip.grid)


class Policy(nn.Module):
    """A learned masker at work. The task owns, trains and checkpoints it, and gives its reward."""

    def forward(
        self, batch: Batch, clip: Clip, key: Int64[Tensor, "b"], tokens: Float[Tensor, "b n d"] | None = None
    ) -> Mask:
        """A mask that carries `log_prob`. All noise comes from `key`, one per clip."""
        raise NotImplementedError

    def loss(self, mask: Mask, error: Float[Tensor, "b q"], batch: Batch) -> Loss:
        """What the policy descends, given the error of each decoded tubelet; no gradient goes into the error."""
        raise NotImplementedError


@chz.chz
class Decode:
    """Which of the hidden tubelets are reconstructed. A frozen config that does the work itself."""

    def count(self, hidden: int) -> int:
        """How many of so many hidden tubelets are reconstructed: at least one."""
        raise NotImplementedError

    def __call__(self, hidden: Int64[Tensor, "b m"], clip: Clip, key: Int64[Tensor, "b"]) -> Int64[Tensor, "b q"]:
        """`count(m)` of the hidden tubelets of each clip, sorted. All noise comes from `key`, one per clip."""
        raise NotImplementedError
