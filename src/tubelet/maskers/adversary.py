"""Adversary: learns where to hide: what is hard to reconstruct is hidden more often (AutoMAE, arXiv 2303.06583).

A named reconstruction: the paper's abstract says that an adversarially trained generator of masks is guided by objects;
losses and weights are not known to us, so each is a parameter. The network is that of `Adaptive`, and it is rewarded
with the opposite sign: it descends -weight * mean over the decoded of n p l, for the probability p by which one of n
tubelets is drawn to be hidden and its error l. With a `prior`, a map of where things are, a critic tells the
probabilities from that map, and the network is trained to deceive it. Invariant: the visible count is floored, the
probability of a decoded tubelet rises with its error, and neither encoder nor decoder gets any gradient from it.
"""

from collections.abc import Iterable
from typing import ClassVar

import chz
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.maskers.adaptive import Adaptive, Sampler, entropy
from tubelet.maskers.base import TOKENS
from tubelet.models.critic import Critic
from tubelet.optim import Trainable
from tubelet.types import Batch, Clip, Loss, Mask


@chz.chz
class Adversary(Adaptive):
    ratio: float = chz.field(default=0.75, doc="share of the clip's tubelets that is hidden")
    weight: float = chz.field(default=1e-2, doc="factor of the masker's own loss in the sum")
    prior: str = chz.field(
        default="", doc="map of where things are, as oracle or attention, which masks shall resemble"
    )
    prior_weight: float = chz.field(default=1.0, doc="factor of the resemblance, beside the error")
    critic_width: int = chz.field(default=256, doc="hidden width of the critic that compares with the map")

    @chz.validate
    def _prior(self) -> None:
        if not (self.prior_weight >= 0 and self.critic_width > 0):
            raise RecipeError(
                f"masker.prior_weight={self.prior_weight:g} must be 0 or more and "
                f"masker.critic_width={self.critic_width} positive"
            )

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return (TOKENS, self.prior) if self.prior else (TOKENS,)

    def build(self, clip: Clip, width: int) -> "Hider":
        return Hider(self, clip, width)


class Hider(Sampler, Trainable):
    """Logs what its critic says of the map and of the probabilities as masker.true and masker.drawn."""

    config: Adversary

    draws_hidden: ClassVar[bool] = True

    def __init__(self, config: Adversary, clip: Clip, width: int):
        super().__init__(config, clip, width)
        self.critic = Critic(clip.num_tubelets, config.critic_width) if config.prior else None

    def detached_parameters(self) -> Iterable[nn.Parameter]:
        return () if self.critic is None else self.critic.parameters()

    def loss(self, mask: Mask, error: Float[Tensor, "b q"], batch: Batch) -> Loss:
        assert mask.log_prob is not None
        likely = mask.log_prob.exp() * mask.log_prob.shape[-1]  # b n, 1 on average
        cost = -(likely.gather(1, mask.decode) * error.detach()).mean()
        terms = {"masker": cost.detach(), "masker.entropy": entropy(mask.log_prob.detach())}
        if self.critic is None:
            return Loss(self.config.weight * cost, terms)
        true = self.critic(per_tubelet(batch.maps[self.config.prior])).mean()
        drawn = self.critic(likely.detach()).mean()
        cost = cost - self.config.prior_weight * self.critic.held(likely).mean()
        terms |= {"masker.true": true.detach(), "masker.drawn": drawn.detach()}
        return Loss(self.config.weight * cost + drawn - true, terms)


def per_tubelet(prior: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """A map as probabilities times n, as the network's own are; all alike where it is 0 everywhere."""
    prior = prior.float().clamp(min=0) + 1e-6
    return prior / prior.mean(1, keepdim=True)
