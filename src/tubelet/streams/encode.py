"""The one place where streams pass through their encoders, apart or together."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import RecipeError
from tubelet.models.encoder import Encoder
from tubelet.streams.towers import JointTower, SharedTower, tower_of
from tubelet.types import CLIP

Visible = tuple[UInt8[Tensor, "b k p"] | Float[Tensor, "b k p"], Int64[Tensor, "b k"]]
"""Tubelets, and where in their clip they stand."""


class Passed(NamedTuple):
    tokens: Float[Tensor, "b k d"]
    before: Float[Tensor, "b k d"] | None  # it met others; None where it meets none


def encode(encoder: Encoder, towers: Mapping[str, nn.Module], visible: Mapping[str, Visible]) -> dict[str, Passed]:
    """The tokens of each stream. One that shares the weights of a stream that meets others goes through them alone, and
    has tokens from before the same block."""
    joint = {name: tower for name in visible if isinstance(tower := towers.get(name), JointTower)}
    found = {}
    first = block_of_meeting(joint) if joint else 0
    if joint:
        early = {name: tower.early(*visible[name]) for name, tower in joint.items()}
        if CLIP in visible:
            early = {CLIP: encoder.through(encoder.embed_tubelets(*visible[CLIP]), 0, first), **early}
        late = encoder.norm(encoder.through(torch.cat([*early.values()], 1), first))
        parts = late.split([tokens.shape[1] for tokens in early.values()], 1)
        found = {name: Passed(part, plain(early[name])) for name, part in zip(early, parts, strict=True)}
    for name, seen in visible.items():
        if name in found:
            continue
        tower = None if name == CLIP else tower_of(towers, name)
        if joint and isinstance(tower, SharedTower):
            tokens = encoder.through(tower.enter(encoder, *seen), 0, first)
            found[name] = Passed(encoder.norm(encoder.through(tokens, first)), plain(tokens))
        elif joint and isinstance(tower, JointTower):
            tokens = tower.early(*seen)
            found[name] = Passed(encoder.norm(encoder.through(tokens, first)), plain(tokens))
        else:
            found[name] = Passed(encoder(*seen) if tower is None else tower(encoder, *seen), None)
    return found


def block_of_meeting(joint: Mapping[str, JointTower]) -> int:
    first, *others = {tower.first for tower in joint.values()}
    if others:
        raise RecipeError(f"streams {', '.join(joint)} meet the clip in different blocks; give their towers one last")
    return first


def plain(tokens: Float[Tensor, "b k d"]) -> Float[Tensor, "b k d"]:
    """Normalised without weights."""
    return F.layer_norm(tokens, tokens.shape[-1:])
