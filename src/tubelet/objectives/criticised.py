"""Criticised: adversarial loss, a discriminator on real and predicted tubelets (MARLIN, arXiv 2211.06627).

The discriminator is called the critic here; the decoder must deceive it.

One backward pass and one optimizer: the decoder's term goes through a critic whose weights are held fixed, the critic's
term through predictions without gradient, so that the gradients are those of two optimizers at the same weights.
MARLIN's steps alternate and its critic has a gradient penalty; here the critic's values are bounded (ours).
"""

from collections.abc import Iterable

import chz
from torch import nn

from tubelet.errors import RecipeError
from tubelet.models.critic import Critic
from tubelet.models.patches import gather
from tubelet.objectives.base import Sizes
from tubelet.objectives.predict import Predict, PredictLoss, mean
from tubelet.objectives.targets import PixelTarget
from tubelet.optim import Trainable
from tubelet.types import CLIP, Encoded, Loss


@chz.chz
class Criticised(Predict):
    adversary: float = chz.field(default=0.01, doc="factor of the decoder's reward for deceiving the critic")
    critic_width: int = chz.field(default=256, doc="hidden width of the critic")
    bound: float = chz.field(default=1.0, doc="the critic's values lie between plus and minus this")

    @chz.validate
    def _sensible(self) -> None:
        if not (self.adversary >= 0 and self.bound > 0 and self.critic_width > 0):
            raise RecipeError(
                f"adversary={self.adversary:g} must be 0 or more, bound={self.bound:g} and "
                f"critic_width={self.critic_width} positive"
            )
        if not isinstance(self.target, PixelTarget):
            raise RecipeError(f"the critic compares pixels: target={type(self.target).__name__} is made of no pixels")

    def build(self, sizes: Sizes) -> "CriticisedLoss":
        return CriticisedLoss(self, sizes)


class CriticisedLoss(PredictLoss, Trainable):
    """Logs what the critic says of true and of predicted tubelets as NAME.true and NAME.predicted."""

    config: Criticised

    def __init__(self, config: Criticised, sizes: Sizes):
        super().__init__(config, sizes)
        self.critic = Critic(config.target.width(sizes.of(config.on[0])), config.critic_width, config.bound)

    def detached_parameters(self) -> Iterable[nn.Parameter]:
        return self.critic.parameters()

    def forward(self, seen: Encoded) -> Loss:
        target = self.config.target
        assert isinstance(target, PixelTarget)
        scores, deceived, told = [], [], []
        for stream in self.config.on:
            own, prediction = seen.of(stream), self.predict(seen, stream)
            true = target.standardise(gather(own.tubelets, own.mask.decode), own.mask.decode, own.clip).values
            scores.append(target.score(prediction, own))
            deceived.append(self.critic.held(prediction).mean())
            told.append((self.critic(true).mean(), self.critic(prediction.detach()).mean()))
        error = mean([one.per_token.mean() for one in scores])
        of_true, of_predicted = (mean([pair[side] for pair in told]) for side in (0, 1))
        loss = error - self.config.adversary * mean(deceived) + of_predicted - of_true
        terms = {
            self.name: error.detach(),
            f"{self.name}.baseline": mean([one.baseline for one in scores]),
            f"{self.name}.true": of_true.detach(),
            f"{self.name}.predicted": of_predicted.detach(),
        }
        return Loss(loss, terms, scores[0].per_token if self.config.on == (CLIP,) else None)
