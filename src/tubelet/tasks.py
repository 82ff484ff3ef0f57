"""A task turns a batch into a step: `Pretraining` hides tubelets, encodes the rest and sums its objectives;
`Classification` compares the scores of whole clips with their labels."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.loading.mix import Mix
from tubelet.maskers import TOKENS, All, Decode, Masker
from tubelet.models.average import Average
from tubelet.models.classifier import Classifier
from tubelet.models.encoder import Encoder
from tubelet.models.patches import cut, gather
from tubelet.objectives.base import Objective, TextHead
from tubelet.objectives.pixels import PixelLoss, Target, normalise
from tubelet.optim import Trainable
from tubelet.seeds import fold
from tubelet.types import Batch, Clip, Encoded, Loss, Mask, Step


class Pretraining(Trainable):
    """Where no objective has a weight it only encodes: what imported weights without a decoder do."""

    def __init__(
        self,
        clip: Clip,
        encoder: Encoder,
        masker: Masker,
        objectives: Mapping[str, Objective],
        text_width: int | None = None,
        decode: Decode | None = None,
        online_maps: Mapping[str, Callable[[Batch], Float[Tensor, "b n"]]] | None = None,  # computed in the step
    ):
        super().__init__()
        active = {name: objective for name, objective in objectives.items() if objective.factor}
        self.clip = clip
        self.masker = masker
        self.decode = decode or All()
        self.decode.count(masker.budget(clip).total)  # refuses, before the first step, what leaves nothing to see or do
        self.detached = tuple(name for name, objective in active.items() if objective.detached)
        self.factors = {name: objective.factor for name, objective in active.items()}
        self.online_maps = {name: make for name, make in (online_maps or {}).items() if name in masker.maps}
        self.needs = tuple(name for name in masker.maps if name not in self.online_maps)  # maps that a batch must carry
        self.needs_text = bool(self.online_maps) or any(objective.needs_text for objective in active.values())
        self.encoder = encoder
        self.objectives = nn.ModuleDict(
            {name: objective.build(encoder.width, clip, text_width) for name, objective in active.items()}
        )
        self.policy = masker.build(clip, encoder.width)  # last: the other weights are those of a run without one
        if self.policy is not None and not any(objective.gives_per_token_loss for objective in active.values()):
            raise RecipeError(
                f"{type(masker).__name__} learns from the loss of each token; add an objective that gives it, as "
                "objectives.pixels=Pixels, or take a masker that does not learn"
            )

    def forward(self, batch: Batch) -> Step:
        seen = self.look(batch)
        losses = {name: objective(seen) for name, objective in self.objectives.items()}
        total = sum((self.factors[name] * loss.value for name, loss in losses.items()), start=seen.tokens.new_zeros(()))
        if self.policy is not None:
            losses["masker"] = self.policy.loss(seen.mask, self.reward(losses))
            total = total + losses["masker"].value
        return Step(total, {term: value for loss in losses.values() for term, value in loss.terms.items()})

    def reward(self, losses: Mapping[str, Loss]) -> Float[Tensor, "b q"]:
        """Of a learned masker: the part of the loss that belongs to each decoded token."""
        parts = [
            self.factors[name] * loss.per_token_loss for name, loss in losses.items() if loss.per_token_loss is not None
        ]
        return torch.stack(parts).sum(0).detach()

    def look(self, batch: Batch) -> Encoded:
        """Draws the mask and encodes what it leaves visible."""
        tubelets = cut(batch.video, self.clip)
        mask = self.draw(batch, tubelets)
        tokens = self.encoder(gather(tubelets, mask.visible), mask.visible)
        return Encoded(self.clip, batch, mask, tubelets, tokens)

    def draw(self, batch: Batch, tubelets: UInt8[Tensor, "b n p"] | None = None) -> Mask:
        """The mask of each clip: a function of its key, its maps and (a learned one) its pixels, not of the batch."""
        tokens = None
        if TOKENS in self.masker.needs:
            with torch.no_grad():
                tokens = self.encoder.patches(cut(batch.video, self.clip) if tubelets is None else tubelets)
        if self.online_maps:
            batch = replace(
                batch, maps={**batch.maps, **{name: make(batch) for name, make in self.online_maps.items()}}
            )
        draws = self.masker if self.policy is None else self.policy
        mask = draws(batch, self.clip, fold(batch.key, "mask"), tokens)
        return replace(mask, decode=self.decode(mask.hidden, self.clip, fold(batch.key, "decode")))

    @property
    def text_head(self) -> TextHead | None:
        """The head that compares clips with texts, where the run trained one."""
        return next((head for head in self.objectives.values() if isinstance(head, TextHead)), None)

    def detached_parameters(self) -> Iterator[nn.Parameter]:
        for name in self.detached:
            yield from self.objectives[name].parameters()

    def reconstruct(self, batch: Batch) -> "Reconstruction":
        """What the pixel objective sees and predicts, for pictures."""
        head = dict(self.objectives.items()).get("pixels")
        if not isinstance(head, PixelLoss):
            raise RecipeError("there is no reconstruction to show: the run has no objective `pixels`")
        seen = self.look(batch)
        target = normalise(gather(seen.tubelets, seen.mask.decode))
        return Reconstruction(seen, target, head.predict(seen).float())


@dataclass(frozen=True)
class Reconstruction:
    """`prediction` and `target.values` are normalised; `target.pixels(prediction)` undoes it with the truth's own."""

    seen: Encoded
    target: Target
    prediction: Float[Tensor, "b q p"]


class Classification(Trainable):
    """Fine-tuning: mixed clips, soft targets, and a running average of the weights where that is asked for."""

    def __init__(self, model: Classifier, mix: Mix, average: float | None = None):
        super().__init__()
        self.model = model
        self.mix = mix
        self.classes = model.head.out_features
        self.average = None if average is None else Average(model, average)

    def forward(self, batch: Batch) -> Step:
        assert batch.label is not None
        mixed = self.mix(batch.video, batch.label, self.classes)
        loss = soft_cross_entropy(self.model(mixed.video).float(), mixed.target)
        uniform = loss.new_tensor(math.log(self.classes))  # what equal scores cost
        return Step(loss, {"cross_entropy": loss.detach(), "cross_entropy.baseline": uniform})

    def layers(self) -> Sequence[Sequence[nn.Module]]:
        return self.model.layers()

    def after_step(self) -> None:
        if self.average is not None:
            self.average.follow(self.model)

    @property
    def tested(self) -> Classifier:
        """The weights that are measured and kept: the average where there is one."""
        return self.model if self.average is None else self.average.model  # type: ignore[return-value]


def soft_cross_entropy(scores: Float[Tensor, "b classes"], target: Float[Tensor, "b classes"]) -> Float[Tensor, ""]:
    return -(target * scores.log_softmax(1)).sum(1).mean()
