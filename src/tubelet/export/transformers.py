"""Weights to and from `transformers.VideoMAEForPreTraining` or `VideoMAEModel`: names, fused qkv, order of the target.

Our tubelet values run (colour, frame, row, column), the order of their convolution kernel; the rows of their decoder
head run (frame, row, column, colour). The last norm of an encoder made for classification is absent in their files.
"""

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor

from tubelet.errors import WeightsError
from tubelet.types import Clip

DECODER = "objectives.pixels.decoder"
STACKS = {"encoder.blocks": "videomae.encoder.layer", f"{DECODER}.blocks": "decoder.decoder_layers"}  # ours: theirs
LAYERS = {  # ours: theirs, inside a block
    "norm1": "layernorm_before",
    "attention.out": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.up": "intermediate.dense",
    "mlp.down": "output.dense",
}
NAMES = {  # ours: theirs, where only the name differs
    "encoder.embed.bias": "videomae.embeddings.patch_embeddings.projection.bias",
    "encoder.norm.weight": "videomae.layernorm.weight",
    "encoder.norm.bias": "videomae.layernorm.bias",
    f"{DECODER}.project.weight": "encoder_to_decoder.weight",
    f"{DECODER}.norm.weight": "decoder.norm.weight",
    f"{DECODER}.norm.bias": "decoder.norm.bias",
}
EMBED = "encoder.embed.weight", "videomae.embeddings.patch_embeddings.projection.weight"
MASK_TOKEN = f"{DECODER}.mask_token", "mask_token"
HEAD = f"{DECODER}.head", "decoder.head"


def to_transformers(ours: Mapping[str, Tensor], clip: Clip) -> dict[str, Tensor]:
    """The state dict of transformers (5.x) from that of `Pretraining`; other objectives have no place in it."""
    left = {name: value for name, value in ours.items() if name.startswith(("encoder.", f"{DECODER}."))}
    theirs = {name: left.pop(key) for key, name in NAMES.items() if key in left}
    for stack, name in STACKS.items():
        for block in blocks(left, stack):
            here, there = f"{stack}.{block}", f"{name}.{block}"
            attention = f"{there}.attention.attention"
            weights = left.pop(f"{here}.attention.qkv.weight").chunk(3)
            theirs |= {
                f"{attention}.{part}.weight": weight
                for part, weight in zip(("query", "key", "value"), weights, strict=True)
            }
            theirs[f"{attention}.query.bias"] = left.pop(f"{here}.attention.q_bias")
            theirs[f"{attention}.value.bias"] = left.pop(f"{here}.attention.v_bias")
            for mine, yours in LAYERS.items():
                for kind in ("weight", "bias"):
                    theirs[f"{there}.{yours}.{kind}"] = left.pop(f"{here}.{mine}.{kind}")
    if EMBED[0] in left:
        kernel = (3, clip.tubelet_frames, clip.tubelet_size, clip.tubelet_size)
        theirs[EMBED[1]] = left.pop(EMBED[0]).unflatten(1, kernel)
    if MASK_TOKEN[0] in left:
        theirs[MASK_TOKEN[1]] = left.pop(MASK_TOKEN[0])[None, None]
        for kind in ("weight", "bias"):
            rows = left.pop(f"{HEAD[0]}.{kind}")
            theirs[f"{HEAD[1]}.{kind}"] = rearrange(rows, "(c values) ... -> (values c) ...", c=3)
    return {name: value.contiguous() for name, value in finished(theirs, left).items()}


def from_transformers(theirs: Mapping[str, Tensor], clip: Clip) -> dict[str, Tensor]:
    """The state dict of `Pretraining` (encoder, and decoder if there is one) from that of transformers, 4.x or 5.x."""
    left = {standard_name(name): value for name, value in theirs.items()}
    left = {name: value for name, value in left.items() if not name.startswith(("classifier.", "fc_norm."))}
    ours = {key: left.pop(name) for key, name in NAMES.items() if name in left}
    for stack, name in STACKS.items():
        for block in blocks(left, name):
            here, there = f"{stack}.{block}", f"{name}.{block}"
            attention = f"{there}.attention.attention"
            parts = [left.pop(f"{attention}.{part}.weight") for part in ("query", "key", "value")]
            ours[f"{here}.attention.qkv.weight"] = torch.cat(parts)
            ours[f"{here}.attention.q_bias"] = left.pop(f"{attention}.query.bias")
            ours[f"{here}.attention.v_bias"] = left.pop(f"{attention}.value.bias")
            for mine, yours in LAYERS.items():
                for kind in ("weight", "bias"):
                    ours[f"{here}.{mine}.{kind}"] = left.pop(f"{there}.{yours}.{kind}")
    if EMBED[1] in left:
        kernel = left.pop(EMBED[1])
        if tuple(kernel.shape[1:]) != (3, clip.tubelet_frames, clip.tubelet_size, clip.tubelet_size):
            raise WeightsError(f"these weights are for tubelets {tuple(kernel.shape[2:])}, not those of {clip}")
        ours[EMBED[0]] = kernel.flatten(1)
    if MASK_TOKEN[1] in left:
        ours[MASK_TOKEN[0]] = left.pop(MASK_TOKEN[1]).flatten()
        for kind in ("weight", "bias"):
            rows = left.pop(f"{HEAD[1]}.{kind}")
            ours[f"{HEAD[0]}.{kind}"] = rearrange(rows, "(values c) ... -> (c values) ...", c=3)
    return {name: value.contiguous() for name, value in finished(ours, left).items()}


def standard_name(name: str) -> str:
    """The 5.x name with the prefix that `VideoMAEForPreTraining` gives it."""
    name = name.replace("attention.attention.q_bias", "attention.attention.query.bias")
    name = name.replace("attention.attention.v_bias", "attention.attention.value.bias")
    return f"videomae.{name}" if name.startswith(("embeddings.", "encoder.", "layernorm.")) else name


def blocks(state: Mapping[str, Tensor], stack: str) -> list[int]:
    """The numbers of the blocks of a stack, ascending."""
    return sorted({int(name[len(stack) + 1 :].split(".")[0]) for name in state if name.startswith(f"{stack}.")})


def finished(state: dict[str, Tensor], left: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state`, if nothing is left over: weights are never dropped in silence."""
    if left:
        raise WeightsError(f"weights with no place in a VideoMAE: {', '.join(sorted(left)[:8])}")
    return state
