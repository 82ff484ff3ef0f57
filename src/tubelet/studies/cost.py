"""What a training step costs for one clip: visible tubelets of all streams, and FLOPs of encoders, decoders, a teacher
and a learned masker."""

from dataclasses import dataclass

import chz

from tubelet.flops import decoder_flops, encoder_flops, step_flops
from tubelet.models.encoder import Vit
from tubelet.objectives import Predict, Sizes
from tubelet.recipes.pretrain import Pretrain
from tubelet.streams import Joint, Own, Shared
from tubelet.studies.base import Equal
from tubelet.teachers import Frozen, Momentum, Teacher
from tubelet.types import CLIP, Clip


@dataclass(frozen=True)
class Cost:
    tokens: int
    flops: int

    def of(self, what: Equal) -> int:
        return {"steps": 1, "tokens": self.tokens, "flops": self.flops}[what]


@dataclass(frozen=True)
class Encoding:
    """How much of a stream is encoded, and by what."""

    clip: Clip
    encoder: Vit
    visible: int
    decoded: int

    def sizes(self, teacher: Teacher, taught: bool) -> Sizes:
        width = self.encoder.width
        return Sizes(
            self.clip, width, teacher=Sizes(self.clip, teacher.width(width), codes=teacher.codes) if taught else None
        )


def cost(config: Pretrain) -> Cost:
    """Counted without computing; forward and backward, of a teacher forward alone. A stream that no objective asks of
    the student costs it nothing. The heads of other objectives are too small to count; an aligner as a teacher is not
    counted, nor attention from one stream to another."""
    parts = encodings(config)
    active = [objective for objective in config.objectives.values() if objective.factor]
    own = {CLIP, *(name for objective in active for name in objective.streams)}
    flops = step_flops(config.encoder, config.masker, config.clip, parts[CLIP].visible)
    flops += sum(encoder_flops(parts[name].encoder, parts[name].clip, parts[name].visible) for name in own - {CLIP})
    for objective in active:
        if isinstance(objective, Predict):
            memory = parts[objective.decoder.memory] if objective.decoder.memory else None
            for one in (parts[name] for name in objective.on):
                flops += decoder_flops(
                    objective.decoder, one.encoder.width, one.clip, one.visible,
                    objective.decoded(one.clip, one.decoded),
                    None if memory is None else (memory.encoder.width, memory.clip, memory.visible),
                    objective.target.width(one.sizes(config.teacher, objective.target.needs_teacher)),
                )  # fmt: skip
    for name in dict.fromkeys(name for objective in active for name in objective.taught):
        looks = parts[name]
        if isinstance(config.teacher, Momentum):
            flops += encoder_flops(looks.encoder, looks.clip, looks.clip.num_tubelets, backward=False)
        elif isinstance(config.teacher, Frozen):
            encoder, clip = config.teacher.sizes
            flops += encoder_flops(encoder, clip, clip.num_tubelets, backward=False)
    return Cost(sum(parts[name].visible for name in own), flops)


def encodings(config: Pretrain) -> dict[str, Encoding]:
    """Of the clip and of every stream."""
    hidden = config.masker.budget(config.clip).total
    found = {
        CLIP: Encoding(
            config.clip,
            config.encoder,
            config.clip.num_tubelets - hidden,
            config.decode.count(hidden) if hidden else 0,
        )
    }
    for name, stream in config.streams.items():
        clip = stream.clip(config.clip)
        hidden = stream.masker.budget(clip).total
        tower = stream.tower
        if isinstance(tower, Shared) and tower.of != CLIP:
            tower = config.streams[tower.of].tower
        encoder = tower.encoder if isinstance(tower, Own) else config.encoder
        if isinstance(tower, Joint):
            last = encoder.depth if tower.last is None else tower.last
            encoder = chz.replace(encoder, depth=tower.blocks + last)
        found[name] = Encoding(clip, encoder, clip.num_tubelets - hidden, stream.decode.count(hidden) if hidden else 0)
    return found
