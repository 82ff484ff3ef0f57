"""Codes: which of a tokenizer's codes a hidden tubelet has (BEiT, arXiv 2106.08254)."""

from typing import ClassVar

import chz
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tubelet.errors import RecipeError
from tubelet.models.patches import gather
from tubelet.objectives.base import Sizes
from tubelet.objectives.gather import Ranks
from tubelet.objectives.targets.base import Scores, Target
from tubelet.types import Encoded


@chz.chz
class Codes(Target):
    """Cross-entropy. The baseline knows how often each code occurs among what is scored, on all ranks, and no more: the
    entropy of that distribution."""

    needs_teacher: ClassVar[bool] = True

    def width(self, sizes: Sizes) -> int:
        assert sizes.teacher is not None
        if sizes.teacher.codes is None:
            raise RecipeError(
                "target=Codes predicts numbers of codes, and this teacher gives none; name a run of the recipe vq with "
                "teacher=Tokenizer and teacher.init=RUN"
            )
        return sizes.teacher.codes

    def score(self, prediction: Float[Tensor, "b q v"], seen: Encoded) -> Scores:
        assert seen.teacher is not None
        assert seen.teacher.codes is not None
        numbers = gather(seen.teacher.codes[..., None], seen.mask.decode)[..., 0]
        per_token = F.cross_entropy(prediction.float().movedim(-1, 1), numbers, reduction="none")
        counts = torch.bincount(
            Ranks(len(numbers), numbers.device).gather(numbers).flatten(), minlength=prediction.shape[-1]
        )
        accuracy = (prediction.argmax(-1) == numbers).float().mean()
        return Scores(per_token, torch.special.entr(counts / counts.sum()).sum(), {"accuracy": accuracy})
