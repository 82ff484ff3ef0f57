"""Predict: a decoder reads the visible tokens and predicts a target of the hidden tubelets."""

from collections.abc import Sequence
from typing import ClassVar

import chz
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.models.decoder import Decoder
from tubelet.objectives.base import Objective, Sizes
from tubelet.objectives.collapse import spread_of
from tubelet.objectives.gather import Ranks
from tubelet.objectives.targets import Features, PerColour, Target
from tubelet.types import CLIP, Clip, Encoded, Loss


@chz.chz
class Predict(Objective):
    """Of several streams, by one decoder for all of them, the mean of their losses is descended."""

    on: tuple[str, ...] = chz.field(default=(CLIP,), doc="streams whose hidden tubelets are predicted")
    target: Target = chz.field(default_factory=PerColour, doc="what is predicted of a hidden tubelet")
    decoder: Decoder = chz.field(default_factory=Decoder, doc="the decoder and its size")

    gives_per_token_loss: ClassVar[bool] = True

    @chz.validate
    def _some(self) -> None:
        if not self.on or len(set(self.on)) < len(self.on):
            raise RecipeError(f"on={','.join(self.on)} must name one stream or several, each once")

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.on, *filter(None, [self.decoder.memory]))))

    @property
    def taught(self) -> tuple[str, ...]:
        return self.on if self.target.needs_teacher else ()

    @property
    def reconstructs(self) -> tuple[str, ...]:
        return self.on

    def decoded(self, clip: Clip, hidden: int) -> int:
        """How many tubelets of a stream are decoded of which `hidden` are hidden."""
        return hidden

    def build(self, sizes: Sizes) -> "PredictLoss":
        return PredictLoss(self, sizes)


class PredictLoss(nn.Module):
    """Logs the loss as NAME, what knowing nothing costs as NAME.baseline, and the target's own terms as NAME.TERM; of
    a teacher's target also NAME.rank and NAME.std of the encoder, NAME.output and NAME.target of what is predicted and
    of the teacher (`objectives.collapse`)."""

    def __init__(self, config: Predict, sizes: Sizes):
        super().__init__()
        self.config = config
        self.name = sizes.name
        first, *others = (sizes.of(name) for name in config.on)
        for name in config.on:
            config.target.check(sizes.of(name).clip, name)
        for other in others:
            if (other.clip, other.width) != (first.clip, first.width):
                raise RecipeError(
                    f"objectives.{sizes.name}.on={','.join(config.on)}: one decoder predicts streams of equal clips "
                    f"and widths; these have {first.clip}, {first.width} and {other.clip}, {other.width}"
                )
        memory = None
        if config.decoder.memory:
            attended = sizes.of(config.decoder.memory)
            memory = (attended.width, attended.clip)
        self.decoder = config.decoder.build(first.width, first.clip, config.target.width(first), memory)

    def forward(self, seen: Encoded) -> Loss:
        target, streams = self.config.target, self.config.on
        seen = self.asks(seen)
        said = [self.predict(seen, name) for name in streams]
        scores = [target.score(one, seen.of(name)) for one, name in zip(said, streams, strict=True)]
        loss = mean([one.per_token.mean() for one in scores])
        terms = {self.name: loss.detach(), f"{self.name}.baseline": mean([one.baseline for one in scores])}
        terms |= {f"{self.name}.{term}": mean([one.terms[term] for one in scores]) for term in scores[0].terms}
        if target.needs_teacher:
            first = seen.of(streams[0])
            ranks = Ranks(len(first.tokens), first.tokens.device)
            terms |= spread_of(first.tokens, ranks, self.name)
            if isinstance(target, Features) and first.teacher is not None:  # codes are numbers, and cannot collapse
                terms |= spread_of(said[0], ranks, f"{self.name}.output")
                terms |= spread_of(first.teacher.tokens, ranks, f"{self.name}.target")
        return Loss(loss, terms, scores[0].per_token if streams == (CLIP,) else None)

    def asks(self, seen: Encoded) -> Encoded:
        """With the tubelets that are scored as those to decode."""
        return seen

    def predict(self, seen: Encoded, stream: str = CLIP) -> Float[Tensor, "b q v"]:
        """What is predicted of the tubelets `mask.decode` of a stream."""
        return self.decode(seen, stream)

    def decode(
        self,
        seen: Encoded,
        stream: str,
        hints: Float[Tensor, "b q w"] | None = None,
        tokens: Float[Tensor, "b k d"] | None = None,  # None: those of the stream
    ) -> Float[Tensor, "b q v"]:
        own, memory = seen.of(stream), None
        if self.config.decoder.memory:
            other = seen.of(self.config.decoder.memory)
            memory = (other.tokens, other.mask.visible)
        tokens = self.config.decoder.arrange(own.tokens if tokens is None else tokens, own.batch.key)
        return self.decoder(tokens, own.mask.visible, own.mask.decode, memory, hints)


def mean(values: Sequence[Float[Tensor, ""]]) -> Float[Tensor, ""]:
    return values[0] if len(values) == 1 else torch.stack([*values]).mean()
