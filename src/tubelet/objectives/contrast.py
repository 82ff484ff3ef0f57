"""Contrast: the visible part of a clip and its caption find each other among the others (masked video-text InfoNCE)."""

import math
from typing import ClassVar, Literal

import chz
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import RecipeError
from tubelet.models.blocks import initialise
from tubelet.objectives.base import Objective, Sizes, TextHead
from tubelet.objectives.collapse import spread_of
from tubelet.objectives.gather import Ranks
from tubelet.types import Batch, Encoded, Loss


@chz.chz
class Contrast(Objective):
    """The mean of the visible tokens against the cached caption embedding; no second pass of the encoder.

    The video is projected into the space of the caption embeddings, which stay as they are. With a `width`, both
    sides are projected into a new joint space of that width.
    """

    needs_text: ClassVar[bool] = True
    compares_clips: ClassVar[bool] = True

    width: int | None = chz.field(default=None, doc="width of the joint space; None is that of the caption embeddings")
    temperature: float = chz.field(default=0.07, doc="temperature at the start")
    floor: float = chz.field(default=0.01, doc="a learned temperature stays above this")
    learnable: bool = chz.field(default=True, doc="learn the temperature")
    same_text: Literal["ignore", "negative"] = chz.field(
        default="ignore", doc="equal captions, and captions of one video: left out, or negatives like any other"
    )
    detach: bool = chz.field(default=False, doc="a stop-gradient probe head: trained, without training the encoder")

    @chz.validate
    def _temperature_above_floor(self) -> None:
        if not 0 <= self.floor < self.temperature:
            raise RecipeError(
                f"contrast.temperature={self.temperature} must be above contrast.floor={self.floor}, which is >= 0"
            )

    @property
    def factor(self) -> float:
        """A detached head trains at its own pace: the weight says nothing about it."""
        return 1.0 if self.detach else self.weight

    @property
    def detached(self) -> bool:
        return self.detach

    def build(self, sizes: Sizes) -> "ContrastLoss":
        if sizes.text is None:
            raise RecipeError(
                "the objective Contrast needs caption embeddings; make them with `tubelet align CORPUS` and "
                "`tubelet saliency CORPUS Text`, or leave it out with objectives.contrast.weight=0"
            )
        return ContrastLoss(self, sizes.width, sizes.text, sizes.name)


class ContrastLoss(TextHead):
    """Symmetric InfoNCE. The candidates are those of this step on all ranks; accumulation does not add to them.

    `NAME.baseline` is the loss of a head that cannot tell the candidates apart.
    """

    def __init__(self, config: Contrast, width: int, text_width: int, name: str = ""):
        super().__init__()
        self.config = config
        self.name = name or "contrast"
        self.text_width = text_width
        self.video = nn.Linear(width, config.width or text_width, bias=False)
        self.text = nn.Linear(text_width, config.width, bias=False) if config.width else nn.Identity()
        self.apply(initialise)
        # temperature = floor + exp(log_excess): it cannot reach the floor, and its gradient never vanishes there.
        start = torch.tensor([math.log(config.temperature - config.floor)])
        self.log_excess = nn.Parameter(start, requires_grad=config.learnable)

    def forward(self, seen: Encoded) -> Loss:
        batch = seen.batch
        if batch.text is None:
            raise ValueError("the objective Contrast got a batch without caption embeddings")
        tokens = seen.tokens.detach() if self.config.detach else seen.tokens
        with torch.autocast(tokens.device.type, enabled=False):
            ranks = Ranks(len(batch.text), tokens.device)
            own = torch.arange(ranks.total, device=tokens.device)[ranks.own]
            video, text = self.embed_video(tokens), self.embed_text(batch.text)
            temperature = self.temperature()
            ignored = self.ignored(batch, ranks, own)
            to_text = (video @ ranks.gather(text).T / temperature).masked_fill(ignored, -math.inf)
            to_video = (text @ ranks.gather(video).T / temperature).masked_fill(ignored, -math.inf)
            both = F.cross_entropy(to_text, own, reduction="sum") + F.cross_entropy(to_video, own, reduction="sum")
            loss = both / 2 / len(own)
        terms = {
            self.name: loss.detach(),
            f"{self.name}.baseline": (~ignored).sum(-1).log().mean(),
            f"{self.name}.accuracy": (to_text.argmax(-1) == own).float().mean(),
            f"{self.name}.temperature": temperature.detach(),
            **spread_of(video, ranks, f"{self.name}.output"),
        }
        return Loss(loss, terms)

    def embed_video(self, tokens: Float[Tensor, "b k d"]) -> Float[Tensor, "b e"]:
        """Clips in the joint space, of length 1."""
        return F.normalize(self.video(tokens.float().mean(1)), dim=-1)

    def embed_text(self, text: Float[Tensor, "b w"]) -> Float[Tensor, "b e"]:
        """Caption embeddings in the joint space, of length 1."""
        return F.normalize(self.text(text.float()), dim=-1)

    def temperature(self) -> Float[Tensor, ""]:
        return self.config.floor + self.log_excess.exp().squeeze()

    def ignored(self, batch: Batch, ranks: Ranks, own: Int64[Tensor, "b"]) -> Bool[Tensor, "b all"]:
        """Pairs that are no negatives of each other. A clip and its own caption are always kept."""
        ignored = torch.zeros((len(own), ranks.total), dtype=torch.bool, device=own.device)
        if self.config.same_text == "ignore":
            for number in (batch.caption, batch.source):
                if number is None:
                    raise ValueError("contrast.same_text=ignore needs the numbers of captions and videos in the batch")
                ignored |= number[:, None] == ranks.gather(number)
            ignored[torch.arange(len(own), device=own.device), own] = False
        return ignored
