"""A task turns a batch into a step: `Pretraining` hides tubelets, encodes the rest and sums its objectives;
`Classification` compares the scores of whole clips with their labels."""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from tubelet.errors import RecipeError
from tubelet.loading.mix import Mix
from tubelet.maskers import TOKENS, All, Decode, Masker
from tubelet.models.average import Average
from tubelet.models.classifier import Classifier
from tubelet.models.encoder import Encoder
from tubelet.models.patches import cut, gather
from tubelet.objectives.base import Objective, Sizes, TextHead
from tubelet.objectives.predict import PredictLoss
from tubelet.objectives.targets import PixelTarget, Standardised
from tubelet.optim import Trainable
from tubelet.seeds import fold
from tubelet.streams import Bare, JointTower, Shared, Stream, encode
from tubelet.teachers import NoTeacher, Teacher
from tubelet.types import CLIP, Batch, Clip, Encoded, Loss, Mask, Step


@dataclass(frozen=True)
class View:
    """A stream of a batch, cut, and its mask."""

    clip: Clip
    batch: Batch
    tubelets: UInt8[Tensor, "b n p"] | Float[Tensor, "b n p"]
    mask: Mask

    @classmethod
    def whole(cls, clip: Clip, batch: Batch) -> "View":
        """Nothing is hidden."""
        mask = Mask.all_visible(len(batch), clip.num_tubelets, batch.video.device)
        return cls(clip, batch, cut(batch.video, clip), mask)


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
        streams: Mapping[str, Stream] | None = None,
        teacher: Teacher | None = None,
    ):
        super().__init__()
        active = {name: objective for name, objective in objectives.items() if objective.factor}
        self.clip = clip
        self.masker = masker
        self.decode = decode or All()
        self.streams = streams or {}
        self.reads = {name: stream.reads(clip) for name, stream in self.streams.items()}
        check_shared(self.streams, clip)
        check_hidden(clip, masker, self.decode, self.streams, active)
        self.detached = tuple(name for name, objective in active.items() if objective.detached)
        self.factors = {name: objective.factor for name, objective in active.items()}
        self.when = {name: objective.when for name, objective in active.items()}
        self.read = {name for objective in active.values() for name in objective.streams}
        self.taught = tuple(dict.fromkeys(name for objective in active.values() for name in objective.taught))
        self.online_maps = {name: make for name, make in (online_maps or {}).items() if name in masker.maps}
        self.needs = tuple(name for name in masker.maps if name not in self.online_maps)  # maps that a batch must carry
        self.needs_text = bool(self.online_maps) or any(objective.needs_text for objective in active.values())
        self.encoder = encoder
        sizes = self.sizes(encoder.width, text_width, teacher or NoTeacher())
        self.objectives = nn.ModuleDict(
            {name: objective.build(replace(sizes, name=name)) for name, objective in active.items()}
        )
        # Policy, towers and teacher come last: the other weights are those of a run without them.
        self.policy = masker.build(clip, encoder.width)
        if self.policy is not None and not any(objective.gives_per_token_loss for objective in active.values()):
            raise RecipeError(
                f"{type(masker).__name__} learns from the loss of each token; add an objective that gives it, as "
                "objectives.pixels=Pixels, or take a masker that does not learn"
            )

        self.towers = nn.ModuleDict(
            {name: stream.tower.build(encoder, self.reads[name].clip) for name, stream in self.streams.items()}
        )
        # One from whom nothing learns is not there.
        self.teacher = teacher.build(encoder, dict(self.towers.items())) if teacher and self.taught else None
        if self.teacher is not None:
            self.teacher.requires_grad_(False)

    def sizes(self, width: int, text: int | None, teacher: Teacher) -> Sizes:
        """What objectives are built for."""

        def of(name: str, clip: Clip, width: int) -> Sizes:
            if name not in self.taught:
                return Sizes(clip, width, text)
            teacher.check(clip, name)
            return Sizes(clip, width, text, teacher=Sizes(clip, teacher.width(width), codes=teacher.codes))

        streams = {
            name: of(name, self.reads[name].clip, stream.tower.width(width)) for name, stream in self.streams.items()
        }
        return replace(of(CLIP, self.clip, width), streams=streams)

    def forward(self, batch: Batch) -> Step:
        seen = self.look(batch)
        factors = {name: self.factors[name] * self.when[name].factor(batch.step, batch.progress) for name in self.when}
        losses = {name: objective(seen) for name, objective in self.objectives.items() if factors[name]}
        total = sum((factors[name] * loss.value for name, loss in losses.items()), start=seen.tokens.new_zeros(()))
        for name, objective in self.objectives.items():
            if not factors[name]:  # its weights have a gradient of 0, so that ranks and the optimizer find one
                total = total + sum(parameter.sum() * 0 for parameter in objective.parameters())
        total = total + sum(parameter.sum() * 0 for parameter in self.towers.parameters())  # the same of these
        if self.policy is not None and (reward := self.reward(losses, factors)) is not None:
            losses["masker"] = self.policy.loss(seen.mask, reward, batch)
            total = total + losses["masker"].value
        return Step(total, {term: value for loss in losses.values() for term, value in loss.terms.items()})

    def reward(self, losses: Mapping[str, Loss], factors: Mapping[str, float]) -> Float[Tensor, "b q"] | None:
        """Of a learned masker: the part of the loss that belongs to each decoded token; None where none does."""
        parts = [
            factors[name] * loss.per_token_loss for name, loss in losses.items() if loss.per_token_loss is not None
        ]
        return torch.stack(parts).sum(0).detach() if parts else None

    def look(self, batch: Batch, mask: Mask | None = None) -> Encoded:
        """Draws the mask of every stream (the clip's own may be given), encodes what they leave visible, and asks the
        teacher."""
        views = {name: self.hide(batch, name, mask if name == CLIP else None) for name in (CLIP, *self.streams)}
        return self.see(views)

    def hide(self, batch: Batch, name: str, mask: Mask | None = None) -> View:
        """A stream with its mask, whose randomness is its own; that of the clip may be given."""
        clip, own = self.clip_of(name), batch.of(name)
        tubelets = cut(own.video, clip)
        if name == CLIP:
            return View(clip, own, tubelets, self.draw(batch, tubelets) if mask is None else mask)
        stream, key = self.streams[name], fold(batch.key, f"stream {name}")
        mask = stream.masker(own, clip, fold(key, "mask"))
        if mask.hidden.shape[1]:
            mask = replace(mask, decode=stream.decode(mask.hidden, clip, fold(key, "decode")))
        return View(clip, own, tubelets, mask)

    def see(self, views: Mapping[str, View], every: bool = False) -> Encoded:
        """Streams as they are masked, encoded where an objective reads them or `every` one is asked for, and what the
        teacher makes of them. A stream that is left out is not there for those that it is encoded with either."""
        wanted = {CLIP, *self.read, *(name for name, tower in self.towers.items() if isinstance(tower, JointTower))}
        passes = {
            name: (gather(view.tubelets, view.mask.visible), view.mask.visible)
            for name, view in views.items()
            if every or name in wanted
        }
        made = encode(self.encoder, dict(self.towers.items()), passes)
        shown = {name: (view.clip, view.batch) for name, view in views.items()}
        taught = {} if self.teacher is None else self.teacher.look(shown, self.taught)

        def encoded(name: str, view: View) -> Encoded:
            if name in made:
                tokens, before = made[name]
            else:  # the teacher alone looks at it
                empty = (len(view.batch), 0, self.encoder.width)
                tokens, before = view.batch.video.new_empty(empty, dtype=torch.float32), None
            return Encoded(
                view.clip, view.batch, view.mask, view.tubelets, tokens, teacher=taught.get(name), before=before
            )

        streams = {name: encoded(name, view) for name, view in views.items() if name != CLIP}
        return replace(encoded(CLIP, views[CLIP]), streams=streams)

    def after_step(self) -> None:
        if self.teacher is not None:
            self.teacher.after_step(self.encoder, dict(self.towers.items()))
        for objective in self.objectives.values():
            if isinstance(objective, Trainable):
                objective.after_step()

    def draw(self, batch: Batch, tubelets: Shaped[Tensor, "b n p"] | None = None) -> Mask:
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
        if not mask.hidden.shape[1]:
            return mask
        return replace(mask, decode=self.decode(mask.hidden, self.clip, fold(batch.key, "decode")))

    @property
    def text_head(self) -> TextHead | None:
        """The head that compares clips with texts, where the run trained one."""
        return next((head for head in self.objectives.values() if isinstance(head, TextHead)), None)

    def detached_parameters(self) -> Iterator[nn.Parameter]:
        for name, objective in self.objectives.items():
            if name in self.detached:
                yield from objective.parameters()
            elif isinstance(objective, Trainable):
                yield from objective.detached_parameters()
        if isinstance(self.policy, Trainable):
            yield from self.policy.detached_parameters()

    @property
    def pixel_head(self) -> PredictLoss | None:
        """The head that predicts pixels, where the run trained one."""
        return next((head for head in self.objectives.values() if predicts_pixels(head, self)), None)

    def clip_of(self, stream: str) -> Clip:
        return self.clip if stream == CLIP else self.reads[stream].clip

    def reconstruct(self, batch: Batch, mask: Mask | None = None) -> "Reconstruction":
        """What the pixel objective sees and predicts of its first stream, for pictures; under this mask of the clip, or
        one that is drawn."""
        head = self.pixel_head
        if head is None:
            raise RecipeError("there is no reconstruction to show: the run has no objective `pixels`")
        stream, kind = head.config.on[0], head.config.target
        assert isinstance(kind, PixelTarget)
        whole = head.asks(self.look(batch, mask))
        seen = whole.of(stream)
        hidden = gather(seen.tubelets, seen.mask.decode)
        target = kind.standardise(hidden, seen.mask.decode, seen.clip)
        return Reconstruction(seen, target, head.predict(whole, stream).float(), kind)


def predicts_pixels(head: nn.Module, task: Pretraining) -> TypeGuard[PredictLoss]:
    if not (isinstance(head, PredictLoss) and isinstance(head.config.target, PixelTarget)):
        return False
    return not task.clip_of(head.config.on[0]).track


def check_shared(streams: Mapping[str, Stream], clip: Clip) -> None:
    """Refuses to share the weights of a stream that has none, or whose clips are others."""
    for name, stream in streams.items():
        if not isinstance(stream.tower, Shared) or (of := stream.tower.of) == CLIP:
            continue
        there = streams.get(of)
        if there is None or isinstance(there.tower, Shared | Bare) or there.clip(clip) != stream.clip(clip):
            raise RecipeError(
                f"streams.{name}.tower.of={of} must be a stream of equal clips with a tower of its own (Own, Joint)"
            )


def check_hidden(
    clip: Clip,
    masker: Masker,
    decode: Decode,
    streams: Mapping[str, Stream],
    objectives: Mapping[str, Objective],
) -> None:
    """Refuses, before the first step, what leaves nothing to see, to predict, or to read."""
    parts = {CLIP: (clip, masker, decode)}
    parts |= {name: (stream.clip(clip), stream.masker, stream.decode) for name, stream in streams.items()}
    hidden = {name: part.budget(size).total for name, (size, part, _) in parts.items()}
    for name, (size, part, some) in parts.items():
        if hidden[name]:
            some.count(hidden[name])
        if name != CLIP and part.build(size, 8) is not None:
            raise RecipeError(f"streams.{name}.masker={type(part).__name__} learns, and only the clip's own masker may")
    for name, objective in objectives.items():
        for stream in (*objective.streams, *objective.taught, *objective.values):
            if stream not in parts:
                close = difflib.get_close_matches(stream, parts, n=1)
                hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(parts)}"
                raise RecipeError(f"objectives.{name} reads a stream {stream!r}, and this recipe has none; {hint}")
            if stream in streams and isinstance(streams[stream].tower, Bare) and stream not in objective.values:
                raise RecipeError(
                    f"objectives.{name} reads tokens of {stream}, and streams.{stream}.tower=Bare makes none; name "
                    f"another, as streams.{stream}.tower=Joint"
                )
        for stream in objective.reconstructs:
            if not hidden[stream]:
                where = "masker" if stream == CLIP else f"streams.{stream}.masker"
                raise RecipeError(
                    f"objectives.{name} predicts what is hidden of {stream}, and {where}=Nothing hides nothing; "
                    f"name another, as {where}=Random"
                )


@dataclass(frozen=True)
class Reconstruction:
    """`prediction` and `target.values` are standardised; `target.pixels(prediction)` undoes it with the truth's own."""

    seen: Encoded
    target: Standardised
    prediction: Float[Tensor, "b q v"]
    kind: PixelTarget


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
        loss = -(mixed.target * self.model(mixed.video).float().log_softmax(1)).sum(1).mean()
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
