"""SigLIP through transformers, read patch by patch like CLIP.

SigLIP (Zhai et al., ICCV 2023, arXiv 2303.15343) has no projection of single tokens: a probe attends to all of them,
and an MLP follows. What a place says is our reading of that head: what it would return *were this token the only one*.
Its attention is then 1, whatever the probe, so a token passes the head's value and output projection, its norm and its
MLP with the residual. No paper claims that single tokens of SigLIP live in the joint space: measure it.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tubelet.aligners.clip import ClipAligner
from tubelet.errors import WeightsError


class SiglipAligner(ClipAligner):
    """An `Aligner` on a frozen `SiglipModel` and its tokenizer."""

    family = "siglip"
    mean = std = (0.5, 0.5, 0.5)

    def joint(self) -> int:
        if not getattr(self.model.vision_model, "use_head", True):
            raise WeightsError("this SigLIP has no pooling head, so its images and texts share no space")
        return int(self.model.config.text_config.projection_size)

    def embed(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        return self.model.vision_model.embeddings(pixels, interpolate_pos_encoding=True)

    def project(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n e"]:
        vision = self.model.vision_model
        return alone(vision.head, vision.post_layernorm(tokens))

    def attention_weights(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
        """SigLIP has no class token: the attention of the pooling head's probe to every token."""
        vision = self.model.vision_model
        for block in vision.encoder.layers:
            tokens = block(tokens, None)
        tokens = vision.post_layernorm(tokens)
        probe = vision.head.probe.expand(len(tokens), -1, -1)
        weights: Tensor = vision.head.attention(probe, tokens, tokens, need_weights=True)[1]
        return weights[:, 0]

    def encode(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        return self.model.vision_model(pixel_values=pixels).pooler_output

    def name(self, texts: list[str]) -> Float[Tensor, "b e"]:
        """Padded to the full length and unmasked, as SigLIP was trained."""
        words = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=self.longest, return_tensors="pt"
        ).to(self.device)
        return self.model.text_model(input_ids=words["input_ids"]).pooler_output


def alone(head: Any, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """The pooling head on every token as if there were no other."""
    inside = head.attention
    value, bias = inside.in_proj_weight.chunk(3)[2], inside.in_proj_bias.chunk(3)[2]
    pooled = inside.out_proj(functional.linear(tokens, value, bias))
    return pooled + head.mlp(head.layernorm(pooled))
