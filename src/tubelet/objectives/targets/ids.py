"""Ids: which word is hidden (BERT, arXiv 1810.04805; M3AE, arXiv 2205.14204)."""

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
from tubelet.types import Clip, Encoded, Words


@chz.chz
class Ids(Target):
    """Cross-entropy, the mean over the hidden words of each clip; where a caption has ended, nothing is scored. The
    baseline knows how often each word occurs among those that are scored, on all ranks, and no more."""

    def check(self, clip: Clip, stream: str) -> None:
        if not isinstance(clip, Words):
            raise RecipeError(
                f"target=Ids predicts words, and the stream {stream} holds none; give it streams.{stream}.signal=Words"
            )

    def width(self, sizes: Sizes) -> int:
        assert isinstance(sizes.clip, Words)
        return sizes.clip.vocabulary

    def score(self, prediction: Float[Tensor, "b q v"], seen: Encoded) -> Scores:
        numbers = gather(seen.tubelets, seen.mask.decode)[..., 0].long()
        there = numbers > 0
        weight = there / there.sum(1, keepdim=True).clamp(min=1)  # of each word in the mean of its clip
        cost = F.cross_entropy(prediction.float().movedim(-1, 1), numbers, reduction="none")
        ranks = Ranks(len(numbers), numbers.device)
        all_numbers, all_weights = ranks.gather(numbers).flatten(), ranks.gather(weight).flatten()
        counts = torch.bincount(all_numbers, all_weights, prediction.shape[-1])
        total = counts.sum().clamp(min=1e-9)
        baseline = torch.special.entr(counts / total).sum() * total / ranks.total
        right = (prediction.argmax(-1) == numbers) & there
        return Scores(cost * weight * numbers.shape[1], baseline, {"accuracy": right.sum() / there.sum().clamp(min=1)})
