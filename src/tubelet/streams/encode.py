"""The one place where streams pass through their encoders, apart or together."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import RecipeError
from tubelet.models.encoder import Encoder
from tubelet.streams.towers import JointTower
from tubelet.types import CLIP

Visible = tuple[UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], Int64[Tensor, "b k"]]
"""Tubelets, and where in their clip they stand."""


class Passed(NamedTuple):
    tokens: Float[Tensor, "b k d"]
    before: Float[Tensor, "b k d"] | None  # it met others; None where it meets none


def encode(encoder: Encoder, towers: Mapping[str, nn.Module], visible: Mapping[str, Visible]) -> dict[str, Passed]:
    """The tokens of each stream."""
    joint = {name: tower for name in visible if isinstance(tower := towers.get(name), JointTower)}
    found = {}
    for name, seen in visible.items():
        if name in joint or (name == CLIP and joint):
            continue
        found[name] = Passed(encoder(*seen) if name == CLIP else towers[name](encoder, *seen), None)
    if not joint:
        return found
    first, *others = {tower.first for tower in joint.values()}
    if others:
        raise RecipeError(f"streams {', '.join(joint)} meet the clip in different blocks; give their towers one last")
    early = {name: tower.early(*visible[name]) for name, tower in joint.items()}
    if CLIP in visible:
        early = {CLIP: encoder.through(encoder.embed_tubelets(*visible[CLIP]), 0, first), **early}
    late = encoder.norm(encoder.through(torch.cat([*early.values()], 1), first))
    parts = late.split([tokens.shape[1] for tokens in early.values()], 1)
    for (name, tokens), part in zip(early.items(), parts, strict=True):
        found[name] = Passed(part, F.layer_norm(tokens, tokens.shape[-1:]))
    return found
