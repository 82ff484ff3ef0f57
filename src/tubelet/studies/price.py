"""What a training step costs for one clip: visible tubelets, and FLOPs of encoder, decoder and a learned masker."""

from dataclasses import dataclass

import torch

from tubelet.flops import counted, step_flops
from tubelet.objectives import Pixels
from tubelet.recipes.pretrain import Pretrain
from tubelet.studies.base import Equal


@dataclass(frozen=True)
class Price:
    tokens: int
    flops: int

    def of(self, what: Equal) -> int:
        return {"steps": 1, "tokens": self.tokens, "flops": self.flops}[what]


def price(config: Pretrain) -> Price:
    """Counted without computing; forward and backward. The heads of other objectives are too small to count."""
    clip = config.clip
    hidden = config.masker.budget(clip).total
    visible, decoded = clip.num_tubelets - hidden, config.decode.count(hidden)
    flops = step_flops(config.encoder, config.masker, clip, visible)
    for objective in config.objectives.values():
        if isinstance(objective, Pixels) and objective.factor:
            flops += decoder_flops(objective, config, visible, decoded)
    return Price(visible, flops)


def decoder_flops(objective: Pixels, config: Pretrain, visible: int, decoded: int) -> int:
    with torch.inference_mode(False), torch.enable_grad(), torch.device("meta"):
        decoder = objective.decoder.build(config.encoder.width, config.clip)
        tokens = torch.zeros(1, visible, config.encoder.width, requires_grad=True)
        seen, asked = (torch.zeros(1, count, dtype=torch.int64) for count in (visible, decoded))
        with counted() as counter:
            decoder(tokens, seen, asked).sum().backward()
    return counter.get_total_flops()
