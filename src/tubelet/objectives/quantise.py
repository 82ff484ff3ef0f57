"""Quantise: all tubelets are decoded from the nearest codes of the visible tokens (VQ-VAE, arXiv 1711.00937).

From the papers, not read in code here: the straight-through gradient, the commitment and codes as running averages
(VQ-VAE); codes and tokens of length 1 in a narrow space (ViT-VQGAN, arXiv 2110.04627; BEiT v2, arXiv 2208.06366). Ours:
a code that no token was nearest to for some steps becomes a token of a clip, drawn by the clip's key.
"""

from dataclasses import replace
from typing import ClassVar

import chz
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.models.blocks import initialise
from tubelet.models.codebook import Codebook
from tubelet.objectives.base import Sizes
from tubelet.objectives.gather import Ranks
from tubelet.objectives.predict import Predict, PredictLoss, mean
from tubelet.optim import Trainable
from tubelet.seeds import fold, uniform
from tubelet.types import CLIP, Clip, Encoded, Loss


@chz.chz
class Quantise(Predict):
    """The run is a tokenizer then: `teacher=Tokenizer teacher.init=RUN` gives the numbers of its codes."""

    gives_per_token_loss: ClassVar[bool] = False

    size: int = chz.field(default=512, doc="number of codes")
    width: int = chz.field(default=32, doc="width of the space in which the nearest code is found")
    commitment: float = chz.field(default=0.25, doc="factor of the squared distance of tokens from their codes")
    decay: float = chz.field(default=0.99, doc="what of a code stays at a step in which tokens are nearest to it")
    patience: int = chz.field(default=20, doc="steps without any token after which a code starts anew")

    @chz.validate
    def _sensible(self) -> None:
        if min(self.size, self.width, self.patience) < 1:
            raise RecipeError("size, width and patience of a codebook must be at least 1")
        if not (self.commitment >= 0 and 0 <= self.decay <= 1):
            raise RecipeError(f"commitment={self.commitment:g} must be 0 or more, decay={self.decay:g} from 0 to 1")

    @property
    def pools_clips(self) -> bool:
        """Codes follow the tokens of all clips of a forward pass."""
        return True

    @property
    def reconstructs(self) -> tuple[str, ...]:
        """What is visible is decoded too, so that nothing need be hidden."""
        return ()

    def decoded(self, clip: Clip, hidden: int) -> int:
        return clip.num_tubelets

    def build(self, sizes: Sizes) -> "QuantiseLoss":
        return QuantiseLoss(self, sizes)


class QuantiseLoss(PredictLoss, Trainable):
    """Logs NAME.commitment and NAME.perplexity: exp of the entropy of the codes of a step, from 1 where all tokens have
    one code to the number of codes."""

    config: Quantise

    def __init__(self, config: Quantise, sizes: Sizes):
        super().__init__(config, sizes)
        width = sizes.of(config.on[0]).width
        self.codebook = Codebook(width, config.size, config.width)
        self.out = nn.Linear(config.width, width)
        initialise(self.out)

    def forward(self, seen: Encoded) -> Loss:
        loss = super().forward(seen)
        commitments, counts = [], torch.zeros_like(self.codebook.idle)
        for name in self.config.on:
            own = seen.of(name)
            rows, numbers = self.codebook(own.tokens)
            commitments.append((rows - self.codebook.codes[numbers]).square().sum(-1).mean())
            ranks = Ranks(len(rows), rows.device)
            all_rows, all_numbers = ranks.gather(rows.detach()), ranks.gather(numbers).flatten()
            counts = counts + torch.bincount(all_numbers, minlength=len(counts))
            if self.training:
                draw = uniform(fold(own.batch.key, f"spare {self.name} {name}"), 1)[:, 0]
                chosen = ranks.gather((draw * rows.shape[1]).long())
                spare = all_rows[torch.arange(len(all_rows), device=rows.device), chosen]
                self.codebook.count(all_rows.flatten(0, 1), all_numbers, spare)
        terms = {
            **loss.terms,
            f"{self.name}.commitment": mean(commitments).detach(),
            f"{self.name}.perplexity": torch.special.entr(counts / counts.sum()).sum().exp(),
        }
        return Loss(loss.value + self.config.commitment * mean(commitments), terms)

    def asks(self, seen: Encoded) -> Encoded:
        """Of every stream in `on`, all tubelets."""
        return with_all(seen, self.config.on)

    def predict(self, seen: Encoded, stream: str = CLIP) -> Float[Tensor, "b q v"]:
        rows, numbers = self.codebook(seen.of(stream).tokens)
        return self.decode(seen, stream, tokens=self.out(straight_through(rows, self.codebook.codes[numbers])))

    def after_step(self) -> None:
        self.codebook.follow(self.config.decay, self.config.patience)


def straight_through(rows: Float[Tensor, "b k w"], codes: Float[Tensor, "b k w"]) -> Float[Tensor, "b k w"]:
    """The codes, whose gradient goes into the rows as it is."""
    return rows + (codes - rows).detach()


def with_all(seen: Encoded, streams: tuple[str, ...]) -> Encoded:
    """With every tubelet of these streams as what is decoded."""
    n = seen.clip.num_tubelets
    mask, beside = seen.mask, {name: with_all(one, (CLIP,)) for name, one in seen.streams.items() if name in streams}
    if CLIP in streams:
        mask = replace(mask, decode=torch.arange(n, device=seen.tokens.device).expand(len(seen.batch), -1))
    return replace(seen, mask=mask, streams={**seen.streams, **beside})
