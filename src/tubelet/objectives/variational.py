"""Variational: the decoder reads samples, not tokens (SiamMCVAE, a siamese masked conditional variational autoencoder).

Every visible token becomes a mean and a variance; the decoder gets a sample of it, and the divergence from a standard
normal is added. With `beta` 0 and no noise it is `Predict`. Ours, as the body was not readable: beta, and the layers.
"""

import chz
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.models.blocks import initialise
from tubelet.objectives.base import Sizes
from tubelet.objectives.predict import Predict, PredictLoss, mean
from tubelet.seeds import fold, normal
from tubelet.types import CLIP, Encoded, Loss


@chz.chz
class Variational(Predict):
    beta: float = chz.field(default=1e-3, doc="factor of the divergence from a standard normal")

    @chz.validate
    def _not_negative(self) -> None:
        if not self.beta >= 0:
            raise RecipeError(f"beta={self.beta:g} must be 0 or more")

    def build(self, sizes: Sizes) -> "VariationalLoss":
        return VariationalLoss(self, sizes)


class VariationalLoss(PredictLoss):
    """Logs the divergence as NAME.kl, in nats a token."""

    config: Variational

    def __init__(self, config: Variational, sizes: Sizes):
        super().__init__(config, sizes)
        width = sizes.of(config.on[0]).width
        self.posterior = nn.Linear(width, 2 * width)
        initialise(self.posterior)

    def forward(self, seen: Encoded) -> Loss:
        loss = super().forward(seen)
        divergence = mean([kl(*self.moments(seen.of(name))) for name in self.config.on])
        terms = {**loss.terms, f"{self.name}.kl": divergence.detach()}
        return Loss(loss.value + self.config.beta * divergence, terms, loss.per_token_loss)

    def predict(self, seen: Encoded, stream: str = CLIP) -> Float[Tensor, "b q v"]:
        """Of samples while training, their noise drawn from the key; else of the means."""
        own = seen.of(stream)
        middle, log_variance = self.moments(own)
        if self.training:
            keys = fold(own.batch.key, f"sample {self.name} {stream}")
            noise = normal(keys, middle.shape[1:].numel()).view_as(middle)
            middle = middle + (log_variance / 2).exp() * noise
        return self.decode(seen, stream, tokens=middle.to(own.tokens.dtype))

    def moments(self, own: Encoded) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b k d"]]:
        """Mean and log of the variance of every visible token."""
        middle, log_variance = self.posterior(own.tokens).float().chunk(2, dim=-1)
        return middle, log_variance.clamp(-20, 20)


def kl(middle: Float[Tensor, "b k d"], log_variance: Float[Tensor, "b k d"]) -> Float[Tensor, ""]:
    """Of normal distributions from the standard one, summed over the values of a token, the mean over tokens."""
    return (middle.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean() / 2
