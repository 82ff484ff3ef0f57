"""What a training step costs for one clip: visible tubelets, and FLOPs of encoder, decoder and a learned masker."""

from dataclasses import dataclass

from tubelet.flops import decoder_flops, step_flops
from tubelet.objectives import Pixels
from tubelet.recipes.pretrain import Pretrain
from tubelet.studies.base import Equal


@dataclass(frozen=True)
class Cost:
    tokens: int
    flops: int

    def of(self, what: Equal) -> int:
        return {"steps": 1, "tokens": self.tokens, "flops": self.flops}[what]


def cost(config: Pretrain) -> Cost:
    """Counted without computing; forward and backward. The heads of other objectives are too small to count."""
    clip = config.clip
    hidden = config.masker.budget(clip).total
    visible, decoded = clip.num_tubelets - hidden, config.decode.count(hidden)
    flops = step_flops(config.encoder, config.masker, clip, visible)
    for objective in config.objectives.values():
        if isinstance(objective, Pixels) and objective.factor:
            flops += decoder_flops(objective.decoder, config.encoder.width, clip, visible, decoded)
    return Cost(visible, flops)
