"""What is kept of a clip: the mean of its tokens, one for each time step, every token; of any layer; and attention.

Tokens of layer N are the output of block N, before the encoder's last norm, which are `hidden_states[N]` of
transformers; without a layer they are the encoder's own output, after that norm where it has one. Start reading at
`FeatureKind`.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange, reduce
from jaxtyping import Float, UInt8
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.models.blocks import Attention
from tubelet.models.encoder import Encoder
from tubelet.models.others import WholeClipEncoder, only_measured
from tubelet.models.patches import cut

FEATURES = ("mean", "time_step", "token")


@dataclass(frozen=True)
class FeatureKind:
    """Which features of a clip are kept."""

    features: str = "mean"
    layer: int | Literal["all"] | None = None
    attention: bool = False  # of the last block: how much each token is attended to
    half: bool = False  # float16

    def __post_init__(self) -> None:
        if self.features not in FEATURES:
            raise RecipeError(f"features are one of {', '.join(FEATURES)}, not {self.features!r}")

    @property
    def plain(self) -> bool:
        """Whether this is the one vector a clip that evaluation reads."""
        return self == FeatureKind()

    def shape(self, encoder: Encoder) -> tuple[int, ...]:
        """Of the features of one clip."""
        self.check(encoder)
        steps = {"mean": (), "time_step": encoder.clip.grid[:1], "token": (encoder.clip.num_tubelets,)}
        layers = (encoder.config.depth,) if self.layer == "all" else ()
        return (*layers, *steps[self.features], encoder.width)

    def names(self) -> tuple[str, ...]:
        """Of those axes."""
        steps = {"mean": (), "time_step": ("time_step",), "token": ("token",)}
        return (*(("layer",) if self.layer == "all" else ()), *steps[self.features], "width")

    def check(self, encoder: Encoder) -> None:
        if encoder.clip.track:
            raise RecipeError(
                f"this encoder reads the track {encoder.clip.track!r} of a corpus, not frames; its features of every "
                "moment are written by `tubelet export RUN --to localiser --on CORPUS`"
            )
        depth = encoder.config.depth
        if isinstance(encoder, WholeClipEncoder) and (self.layer is not None or self.attention):
            raise only_measured(encoder.config.known)
        if isinstance(self.layer, int) and not 0 <= self.layer <= depth:
            raise RecipeError(f"this encoder has layers 0 (what enters its first block) to {depth}, not {self.layer}")

    def of(self, encoder: Encoder, video: UInt8[Tensor, "b 3 t h w"]) -> dict[str, Tensor]:
        """`feature` "b ...", and `attention` "b nt nh nw" where it is kept; on the CPU, in fp32."""
        self.check(encoder)
        device = next(encoder.parameters()).device
        training = encoder.training
        encoder.eval()
        try:
            with torch.no_grad():
                return self.measured(encoder, video.to(device))
        finally:
            encoder.train(training)

    def measured(self, encoder: Encoder, video: UInt8[Tensor, "b 3 t h w"]) -> dict[str, Tensor]:
        if isinstance(encoder, WholeClipEncoder):
            return {"feature": self.pooled(encoder.encode(video), encoder).cpu()}
        everywhere = torch.arange(encoder.clip.num_tubelets, device=video.device).expand(len(video), -1)
        tokens = encoder.embed_tubelets(cut(video, encoder.clip), everywhere)
        layers = [self.pooled(tokens, encoder)] if self.layer == 0 else []
        found: dict[str, Any] = {}
        for number, block in enumerate(encoder.blocks, 1):
            if self.attention and number == encoder.config.depth:
                found["attention"] = attended(block, tokens, encoder).cpu()
            tokens = block(tokens)
            if self.layer in (number, "all"):
                layers.append(self.pooled(tokens, encoder))
        if self.layer is None:
            layers.append(self.pooled(encoder.norm(tokens), encoder))
        found["feature"] = (torch.stack(layers, 1) if self.layer == "all" else layers[0]).cpu()
        return found

    def pooled(self, tokens: Float[Tensor, "b n d"], encoder: Encoder) -> Float[Tensor, "b *shape"]:
        tokens = tokens.float()
        if self.features == "mean":
            return tokens.mean(1)
        if self.features == "time_step":
            return reduce(tokens, "b (t place) d -> b t d", "mean", t=encoder.clip.grid[0])
        return tokens


def attended(block: Any, tokens: Float[Tensor, "b n d"], encoder: Encoder) -> Float[Tensor, "b nt nh nw"]:
    """The share of all attention in this block that goes to each token: the mean over heads and over the tokens that
    look. It sums to 1. One clip and one head at a time, as the whole matrix of a clip is large."""
    attention: Attention = block.attention
    width = attention.q_bias.numel()
    q_weight, k_weight, _ = attention.qkv.weight.split(width)
    x = block.norm1(tokens)
    q = rearrange(x @ q_weight.T + attention.q_bias, "b n (h c) -> b h n c", h=attention.heads)
    k = rearrange(x @ k_weight.T, "b n (h c) -> b h n c", h=attention.heads)
    shares = torch.zeros(tokens.shape[:2], device=tokens.device)
    for clip in range(len(tokens)):
        for head in range(attention.heads):
            scores = q[clip, head] @ k[clip, head].T * q.shape[-1] ** -0.5
            shares[clip] += scores.float().softmax(-1).mean(0) / attention.heads
    nt, nh, nw = encoder.clip.grid
    return rearrange(shares, "b (nt nh nw) -> b nt nh nw", nt=nt, nh=nh, nw=nw)


def parse_layer(text: str | None) -> int | Literal["all"] | None:
    """`3` or `all`."""
    if text is None or text == "all":
        return "all" if text else None
    if not text.isdecimal():
        raise RecipeError(f"--layer {text} is the number of a block, as 6, or all")
    return int(text)
