"""The names that the weights of a VideoMAE go by, and the way to and from ours, value for value.

Three things differ beside names. Our tubelet values run (colour, frame, row, column), the order of their convolution
kernel, but the rows of their decoder's head run (frame, row, column, colour). Their kernel and mask token have more
axes. transformers keeps query, key and value apart.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor

from tubelet.errors import WeightsError
from tubelet.models.patches import position_table
from tubelet.types import Clip
from tubelet.wording import and_more

DECODER = "objectives.pixels.decoder"
EMBED, MASK_TOKEN = "encoder.embed.weight", f"{DECODER}.mask_token"
HEAD = f"{DECODER}.head.weight", f"{DECODER}.head.bias"
PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class Layout:
    """Ours to theirs: beginnings of names outside of the blocks, the blocks, and what is in a block."""

    name: str
    names: Mapping[str, str]
    stacks: Mapping[str, str]
    layers: Mapping[str, str]
    wrappers: tuple[str, ...] = ()  # beginnings that say nothing: a name means the same without them
    bare: Mapping[str, str] = field(default_factory=dict)  # beginnings of an encoder on its own: what they stand for
    older: Mapping[str, str] = field(default_factory=dict)  # words of older versions: those of today
    apart: bool = False  # query, key and value are tensors of their own
    positions: str = ""  # where the fixed position table is among the tensors, if it is

    def knows(self, names: Iterable[str]) -> bool:
        """Whether these are names of this layout: its words for the two first products of a block are among them."""
        words = [self.layers["attention.qkv"].partition("+")[0], self.layers["mlp.up"]]
        return all(any(re.search(rf"\.\d+\.{re.escape(word)}\.weight$", name) for name in names) for word in words)

    def standard(self, name: str) -> str:
        """The name without wrappers, in the words of today, with the prefix that it has beside a decoder."""
        while wrapper := next((wrapper for wrapper in self.wrappers if name.startswith(wrapper)), ""):
            name = name.removeprefix(wrapper)
        for old, new in self.older.items():
            name = name.replace(old, new)
        for start, full in self.bare.items():
            if name.startswith(start):
                return full + name.removeprefix(start)
        return name

    def theirs(self, name: str) -> str:
        """Their name of one of our tensors; of a fused one where theirs are apart, the pieces' common beginning."""
        if block := re.fullmatch(r"(.+\.blocks)\.(\d+)\.(.+)", name):
            stack, number, rest = block.groups()
            if stack in self.stacks and (found := renamed(rest, self.layers)):
                return f"{self.stacks[stack]}.{number}.{found}"
        elif found := renamed(name, self.names):
            return found
        raise WeightsError(f"the {self.name} layout has no place for {name}")

    def ours(self, name: str) -> str | None:
        """Our name of one of theirs; None for a stranger."""
        for ours, theirs in self.stacks.items():
            if block := re.fullmatch(rf"{re.escape(theirs)}\.(\d+)\.(.+)", name):
                found = renamed(block[2], {theirs: ours for ours, theirs in self.layers.items()})
                return f"{ours}.{block[1]}.{found}" if found else None
        return renamed(name, {theirs: ours for ours, theirs in self.names.items()})


def renamed(name: str, names: Mapping[str, str]) -> str | None:
    """Whole, or all but the last word of it: `norm1` stands for its weight and its bias."""
    start, _, kind = name.rpartition(".")
    if name in names:
        return names[name]
    return f"{names[start]}.{kind}" if start in names and kind in ("weight", "bias") else None


OFFICIAL = Layout(
    "official",
    names={
        "encoder.embed": "encoder.patch_embed.proj",
        "encoder.norm": "encoder.norm",
        f"{DECODER}.project": "encoder_to_decoder",
        MASK_TOKEN: "mask_token",
        f"{DECODER}.norm": "decoder.norm",
        f"{DECODER}.head": "decoder.head",
        "head.norm": "fc_norm",
        "head.linear": "head",
    },
    stacks={"encoder.blocks": "encoder.blocks", f"{DECODER}.blocks": "decoder.blocks"},
    layers={
        "norm1": "norm1",
        "attention.qkv": "attn.qkv",
        "attention.q_bias": "attn.q_bias",
        "attention.v_bias": "attn.v_bias",
        "attention.out": "attn.proj",
        "norm2": "norm2",
        "mlp.up": "mlp.fc1",
        "mlp.down": "mlp.fc2",
    },
    wrappers=("module.", "model.", "backbone."),
    bare={
        "blocks.": "encoder.blocks.",
        "patch_embed.": "encoder.patch_embed.",
        "norm.": "encoder.norm.",
        "pos_embed": "encoder.pos_embed",
        "encoder.fc_norm.": "fc_norm.",
        "encoder.head.": "head.",
    },
    positions="encoder.pos_embed",
)
TRANSFORMERS = Layout(
    "transformers",
    names={
        "encoder.embed": "videomae.embeddings.patch_embeddings.projection",
        "encoder.norm": "videomae.layernorm",
        f"{DECODER}.project": "encoder_to_decoder",
        MASK_TOKEN: "mask_token",
        f"{DECODER}.norm": "decoder.norm",
        f"{DECODER}.head": "decoder.head",
        "head.norm": "fc_norm",
        "head.linear": "classifier",
    },
    stacks={"encoder.blocks": "videomae.encoder.layer", f"{DECODER}.blocks": "decoder.decoder_layers"},
    layers={
        "norm1": "layernorm_before",
        "attention.qkv": "attention.attention.query+key+value",
        "attention.q_bias": "attention.attention.query.bias",
        "attention.v_bias": "attention.attention.value.bias",
        "attention.out": "attention.output.dense",
        "norm2": "layernorm_after",
        "mlp.up": "intermediate.dense",
        "mlp.down": "output.dense",
    },
    wrappers=("module.",),
    bare={
        "embeddings.": "videomae.embeddings.",
        "encoder.layer.": "videomae.encoder.layer.",
        "layernorm.": "videomae.layernorm.",
    },
    older={"attention.attention.q_bias": "attention.attention.query.bias",
           "attention.attention.v_bias": "attention.attention.value.bias"},
    apart=True,
)  # fmt: skip
MMACTION = Layout(
    "mmaction2",
    names={
        "encoder.embed": "backbone.patch_embed.projection",
        "encoder.norm": "backbone.norm",
        "head.norm": "backbone.fc_norm",
        "head.linear": "cls_head.fc_cls",
    },
    stacks={"encoder.blocks": "backbone.blocks"},
    layers={**OFFICIAL.layers, "mlp.up": "mlp.layers.0.0", "mlp.down": "mlp.layers.1"},
    wrappers=("module.",),
    bare={start: f"backbone.{start}" for start in ("blocks.", "patch_embed.", "norm.", "fc_norm.", "pos_embed")},
    positions="backbone.pos_embed",
)
LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in (OFFICIAL, TRANSFORMERS, MMACTION)}


def recognise(names: Iterable[str], origin: str) -> Layout:
    names = list(names)
    for layout in LAYOUTS.values():
        if layout.knows(names):
            return layout
    raise WeightsError(
        f"{origin} holds no VideoMAE that is known here ({', '.join(LAYOUTS)}); its tensors: "
        f"{', '.join(names[:3]) or 'none'}"
    )


def from_layout(theirs: Mapping[str, Tensor], layout: Layout, origin: str) -> dict[str, Tensor]:
    """Our tensors of theirs, the kernel of the first layer still whole. What has no place is named and refused."""
    left: dict[str, Tensor] = {}
    for name, value in theirs.items():
        if (standard := layout.standard(name)) in left:
            raise WeightsError(f"{origin} holds {standard} twice, once as {name}; keep one of the two")
        left[standard] = value
    if layout.apart:
        left = fused(left, origin)
    if layout.positions in left:
        check_positions(left.pop(layout.positions), layout.positions, origin)
    found = {name: layout.ours(name) for name in left}
    if strangers := sorted(name for name, ours in found.items() if ours is None):
        raise WeightsError(f"{origin} holds weights with no place in a VideoMAE: {and_more(strangers, 6)}")
    ours = {own: left[name] for name, own in found.items() if own is not None}
    if MASK_TOKEN in ours:
        ours[MASK_TOKEN] = ours[MASK_TOKEN].flatten()
    for name in HEAD:
        if name in ours:
            if len(ours[name]) % 3:
                raise WeightsError(f"{origin}: {layout.theirs(name)} has {len(ours[name])} rows, no multiple of 3")
            ours[name] = rearrange(ours[name], "(values c) ... -> (c values) ...", c=3)
    return {name: value.contiguous() for name, value in ours.items()}


def to_layout(ours: Mapping[str, Tensor], layout: Layout, clip: Clip) -> dict[str, Tensor]:
    """Their tensors of ours, in the order of ours: encoder, decoder and classifier; other heads have no place there."""
    theirs: dict[str, Tensor] = {}
    for name, value in ours.items():
        if not name.startswith(("encoder.", f"{DECODER}.", "head.")):
            continue
        target = layout.theirs(name)
        if name == EMBED:
            value = value.unflatten(1, (3, clip.tubelet_frames, clip.tubelet_size, clip.tubelet_size))
        elif name == MASK_TOKEN:
            value = value[None, None]
        elif name in HEAD:
            value = rearrange(value, "(c values) ... -> (values c) ...", c=3)
        if "+" in target:
            pieces = zip(PARTS, value.chunk(3), strict=True)
            theirs |= {target.replace("query+key+value", part): piece.contiguous() for part, piece in pieces}
        else:
            theirs[target] = value.contiguous()
    if layout is MMACTION:  # its table is a buffer of the file
        theirs[layout.positions] = position_table(clip.num_tubelets, ours[EMBED].shape[0])[None]
    return theirs


def fused(theirs: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Query, key and value of every block as one tensor."""
    left = dict(theirs)
    starts = {name.rpartition(".attention.attention.")[0] for name in theirs if ".attention.attention." in name}
    for start in (f"{start}.attention.attention" for start in sorted(starts)):
        pieces = [f"{start}.{part}.weight" for part in PARTS]
        if missing := [piece for piece in pieces if piece not in left]:
            raise WeightsError(f"{origin}: {and_more(missing, 6)} is missing")
        weights = [left.pop(piece) for piece in pieces]
        if len({tuple(weight.shape) for weight in weights}) > 1:
            shapes = ", ".join(str(tuple(weight.shape)) for weight in weights)
            raise WeightsError(f"{origin}: {start}: query, key and value differ in shape: {shapes}")
        left[f"{start}.query+key+value.weight"] = torch.cat(weights)
    return left


def check_positions(table: Tensor, name: str, origin: str) -> None:
    """A fixed table is made anew for any clip; a learned one is another model."""
    if table.ndim not in (2, 3) or (table.ndim == 3 and len(table) != 1):
        raise WeightsError(f"{origin}: {name} is {tuple(table.shape)}, no table of positions")
    wanted = position_table(table.shape[-2], table.shape[-1])
    if (table.float().reshape(wanted.shape) - wanted).abs().max() > 1e-3:
        raise WeightsError(f"{origin}: {name} is no sinusoid table; learned positions are not known here")
