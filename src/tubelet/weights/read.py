"""A stranger's weights as ours: the model they are of, read off the tensors and the config beside them.

Strict: every weight of that model must be there, in its shape, and nothing may be left over.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.errors import WeightsError
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import HEADS, Vit, fitting_heads
from tubelet.models.others import FAMILIES, OtherEncoder
from tubelet.models.patches import MEAN, STD
from tubelet.types import Clip
from tubelet.weights.files import FoundWeights, find_weights
from tubelet.weights.layouts import DECODER, EMBED, Layout, from_layout, recognise
from tubelet.wording import and_more

DEFAULTS = {
    "image_size": 224,
    "num_frames": 16,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "decoder_num_attention_heads": 6,
}
"""What a config.json of transformers need not say."""


@dataclass(frozen=True)
class Weights:
    """Weights under our names (`encoder.`, the decoder's, `head.`), and what model they are of."""

    tensors: Mapping[str, Tensor]
    clip: Clip
    encoder: Vit
    decoder: Decoder | None
    classes: tuple[str, ...]  # of the classifier, where there is one
    layout: str
    origin: str
    remarks: tuple[str, ...] = field(default_factory=tuple)  # what had to be supposed or changed

    @property
    def head_eps(self) -> float:
        """Of the classifier's norm; transformers keeps to PyTorch's own."""
        return 1e-5 if self.layout == "transformers" else 1e-6

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors under `name.`, without it."""
        return {
            key.removeprefix(f"{name}."): value for key, value in self.tensors.items() if key.startswith(f"{name}.")
        }


def read_weights(source: str | Path, *, frames: int | None = None, size: int | None = None) -> Weights:
    """The weights in this file or folder, or on the hub under this name.

    `frames` and `size` say which clips they were trained on where no config does (16 and 224 if nobody does).
    """
    return weights_of(find_weights(source), frames=frames, size=size)


def weights_of(found: FoundWeights, *, frames: int | None = None, size: int | None = None) -> Weights:
    """What was found, as ours."""
    if found.config.get("model_type") in (*FAMILIES, "videoprism"):
        return other_weights(found)
    found, wrapped = unwrapped_names(found)
    layout = recognise(found.tensors, found.origin)
    config, remarks = settings(found, layout)
    remarks += wrapped
    tensors = from_layout(as_float32(found, remarks), layout, found.origin)
    clip = clip_of(tensors, config, found.origin, frames, size, remarks)
    tensors[EMBED] = tensors[EMBED].flatten(1)
    if not config.get("qv_bias", True):
        add_zero_biases(tensors)
    encoder = encoder_of(tensors, config, found.origin, remarks)
    decoder = read_decoder(tensors, config, found.origin, remarks)
    check_tensors(tensors, clip, encoder, decoder, layout, found.origin)
    tensors = folded(tensors, clip, found, remarks)
    classes = classes_of(tensors, config)
    return Weights(tensors, clip, encoder, decoder, classes, layout.name, found.origin, tuple(remarks))


def other_weights(found: FoundWeights) -> Weights:
    """V-JEPA 2 or VideoPrism: the encoder, out of whatever model of transformers it is a part of."""
    said = found.processor if found.processor.get("do_normalize") else {}
    mean, std = (tuple(said[name]) if name in said else None for name in ("image_mean", "image_std"))
    encoder = OtherEncoder.of(found.config, mean, std)
    first = encoder.known.first
    start = next((name.removesuffix(first) for name in found.tensors if name.endswith(first)), None)
    if start is None:
        raise WeightsError(f"{found.origin} holds no {first}, so no encoder of {encoder.known.title}")
    with torch.device("meta"):
        wanted = encoder.build(encoder.clip).model.state_dict()
    inside = {name: found.tensors[start + name] for name in wanted if start + name in found.tensors}
    faults = [f"{start}{name} is missing" for name in wanted if name not in inside]
    faults += [
        f"{start}{name} is {tuple(value.shape)}, not {tuple(wanted[name].shape)}"
        for name, value in inside.items()
        if value.shape != wanted[name].shape
    ]
    if faults:
        raise WeightsError(f"{found.origin}: {and_more(faults, 4)}")
    remarks: list[str] = []
    if left := len(found.tensors) - len(wanted):
        remarks.append(f"{left} tensors beside the encoder, as those of a predictor or a head, are left out")
    taken = as_float32(replace(found, tensors=inside), remarks)
    tensors = {f"encoder.model.{name}": value for name, value in taken.items()}
    return Weights(tensors, encoder.clip, encoder, None, (), "transformers", found.origin, tuple(remarks))


def unwrapped_names(found: FoundWeights) -> tuple[FoundWeights, list[str]]:
    """Without what torch.compile (`_orig_mod`, wherever it stands) and DistributedDataParallel (`module`, in front of
    every name) add to the names of a saved model; and a remark."""
    names = {name: ".".join(part for part in name.split(".") if part != "_orig_mod") for name in found.tensors}
    while names and all(name.startswith("module.") for name in names.values()):
        names = {old: name.removeprefix("module.") for old, name in names.items()}
    if all(old == name for old, name in names.items()):
        return found, []
    if len(set(names.values())) < len(names):
        raise WeightsError(f"{found.origin} holds weights twice, with and without `_orig_mod.`; keep one of them")
    tensors = {names[old]: value for old, value in found.tensors.items()}
    compiled = any("_orig_mod" in old.split(".") for old in names)
    remarks = ["its names carry `_orig_mod.`, as torch.compile leaves them: left out"] if compiled else []
    return replace(found, tensors=tensors), remarks


def settings(found: FoundWeights, layout: Layout) -> tuple[dict[str, Any], list[str]]:
    """What config.json says of the model, in the words of transformers; and what must be said of it."""
    config, remarks = dict(found.config), []
    if found.key:
        remarks.append(f"its weights stand under the key {found.key!r}")
    if "model_config" in config:  # the remote code of VideoMAE V2 on the hub
        inner = config["model_config"]
        names = {"img_size": "image_size", "num_frames": "num_frames", "depth": "num_hidden_layers",
                 "embed_dim": "hidden_size", "num_heads": "num_attention_heads"}  # fmt: skip
        return {ours: inner[theirs] for theirs, ours in names.items() if theirs in inner}, remarks
    kind = config.get("model_type")
    if kind not in (None, "videomae"):
        raise WeightsError(f"{found.origin}: config.json is of a {kind!r}, not of a videomae")
    if config.get("hidden_act", "gelu") != "gelu":
        raise WeightsError(f"{found.origin}: hidden_act is {config['hidden_act']!r}; a VideoMAE here has gelu")
    if layout.name == "transformers":
        if not config:
            remarks.append("no config.json beside it: layer_norm_eps is taken to be 1e-12, the default of transformers")
        config = {**(DEFAULTS if config else {}), "layer_norm_eps": 1e-12, **config}
        config["qv_bias"] = config.get("qv_bias", config.get("qkv_bias", True))
    return config, remarks


def as_float32(found: FoundWeights, remarks: list[str]) -> dict[str, Tensor]:
    """All tensors in float32."""
    kinds = {str(value.dtype).removeprefix("torch.") for value in found.tensors.values()}
    if strange := [name for name, value in found.tensors.items() if not value.is_floating_point()]:
        raise WeightsError(f"{found.origin}: {strange[0]} is {found.tensors[strange[0]].dtype}, no floating number")
    if kinds != {"float32"}:
        remarks.append(f"stored as {', '.join(sorted(kinds))}, taken as float32")
    for name, value in found.tensors.items():
        if not value.isfinite().all():
            raise WeightsError(f"{found.origin}: {name} holds values that are not finite")
    return {name: value.float() for name, value in found.tensors.items()}


def clip_of(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    origin: str,
    frames: int | None,
    size: int | None,
    remarks: list[str],
) -> Clip:
    kernel = tensors.get(EMBED)
    if kernel is None or kernel.ndim != 5:
        state = "missing" if kernel is None else f"{tuple(kernel.shape)}, not of 5 axes"
        raise WeightsError(f"{origin}: the kernel of the patch embedding is {state}")
    colours, tubelet_frames, height, width = kernel.shape[1:]
    if colours != 3 or height != width:
        raise WeightsError(f"{origin}: tubelets of {tuple(kernel.shape[1:])} are not square pieces in three colours")
    known_frames = config.get("num_frames") or config.get("all_frames")
    known_size = only_number(config.get("image_size"), origin)
    if (known_frames or frames) is None or (known_size or size) is None:
        remarks.append("nothing says what clips it was trained on: taken to be 16 frames of 224 pixels if not said")
    return Clip(
        frames=frames or known_frames or 16,
        size=size or known_size or 224,
        tubelet_frames=tubelet_frames,
        tubelet_size=height,
    )


def only_number(value: Any, origin: str) -> int | None:
    if isinstance(value, list | tuple):
        if len(set(value)) != 1:
            raise WeightsError(f"{origin}: image_size is {value}; frames here are square")
        return int(value[0])
    return value


def add_zero_biases(tensors: dict[str, Tensor]) -> None:
    """A model made without biases of query and value is one whose biases are 0."""
    for name in [name for name in tensors if name.endswith("attention.qkv.weight")]:
        start = name.removesuffix("qkv.weight")
        for bias in ("q_bias", "v_bias"):
            tensors.setdefault(start + bias, torch.zeros(tensors[name].shape[0] // 3))


def encoder_of(tensors: Mapping[str, Tensor], config: Mapping[str, Any], origin: str, remarks: list[str]) -> Vit:
    width, depth = tensors[EMBED].shape[0], count_blocks(tensors, "encoder.blocks")
    said = config.get("num_hidden_layers", depth), config.get("hidden_size", width)
    if said != (depth, width):
        there, stated = (f"depth {size[0]} and width {size[1]}" for size in ((depth, width), said))
        raise WeightsError(f"{origin} holds an encoder of {there}, and config.json says {stated}")
    return Vit(
        width=width,
        depth=depth,
        heads=heads_of(width, config.get("num_attention_heads"), remarks),
        mlp_ratio=ratio(tensors, "encoder.blocks", width, origin),
        layer_norm_eps=epsilon(config),
        final_norm="encoder.norm.weight" in tensors,
    )


def read_decoder(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], origin: str, remarks: list[str]
) -> Decoder | None:
    if not any(name.startswith(f"{DECODER}.") for name in tensors):
        return None
    if (project := tensors.get(f"{DECODER}.project.weight")) is None or project.ndim != 2:
        raise WeightsError(f"{origin} holds a decoder, but encoder_to_decoder.weight is missing or no matrix")
    width, depth = project.shape[0], count_blocks(tensors, f"{DECODER}.blocks")
    if not depth:
        raise WeightsError(f"{origin} holds a decoder without blocks")
    eps = epsilon(config)
    if eps == 1e-12:
        remarks.append("the last norm of its decoder has eps 1e-5, ours that of the blocks: about 1e-6 apart")
    return Decoder(
        width=width,
        depth=depth,
        heads=heads_of(width, config.get("decoder_num_attention_heads"), remarks),
        mlp_ratio=ratio(tensors, f"{DECODER}.blocks", width, origin),
        layer_norm_eps=eps,
    )


def epsilon(config: Mapping[str, Any]) -> float:
    """transformers writes it into config.json; the official code has 1e-6."""
    return float(config["layer_norm_eps"]) if "layer_norm_eps" in config else 1e-6


def count_blocks(tensors: Mapping[str, Tensor], stack: str) -> int:
    """Up to the highest number: a block that lacks is missing, and will be named."""
    numbers = [
        int(name.removeprefix(f"{stack}.").partition(".")[0]) for name in tensors if name.startswith(f"{stack}.")
    ]
    return max(numbers, default=-1) + 1


def heads_of(width: int, said: Any, remarks: list[str]) -> int:
    if said:
        return int(said)
    heads = fitting_heads(width)
    if width not in HEADS:
        remarks.append(
            f"nothing says how many heads a width of {width} has: taken to be {heads}, {width // heads} channels each"
        )
    return heads


def ratio(tensors: Mapping[str, Tensor], stack: str, width: int, origin: str) -> float:
    """The hidden width of the MLP over the width."""
    weight = tensors.get(f"{stack}.0.mlp.up.weight")
    if weight is None:
        return 4.0  # `check` names it
    found = weight.shape[0] / width
    return found if int(width * found) == weight.shape[0] else math.nextafter(found, math.inf)


def check_tensors(
    tensors: Mapping[str, Tensor], clip: Clip, encoder: Vit, decoder: Decoder | None, layout: Layout, origin: str
) -> None:
    """Every tensor of the model is there in its shape, and no other. In their names."""
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {"encoder": encoder.build(clip)}
        if decoder is not None:
            parts[DECODER] = decoder.build(encoder.width, clip)
    wanted = {
        f"{start}.{name}": value.shape for start, part in parts.items() for name, value in part.state_dict().items()
    }
    if any(name.startswith("head.") for name in tensors):
        classes = len(tensors.get("head.linear.bias", ()))
        if any(name.startswith("head.norm.") for name in tensors):
            wanted |= {f"head.norm.{kind}": torch.Size([encoder.width]) for kind in ("weight", "bias")}
        if any(name.startswith("head.linear.") for name in tensors):
            wanted |= {
                "head.linear.weight": torch.Size([classes, encoder.width]),
                "head.linear.bias": torch.Size([classes]),
            }
    spelled = {name: layout.theirs(name).replace("query+key+value", "query, key or value") for name in wanted}
    faults = [f"{spelled[name]} is missing" for name in wanted if name not in tensors]
    faults += [
        f"{spelled[name]} is {tuple(tensors[name].shape)}, not {tuple(shape)}"
        for name, shape in wanted.items()
        if name in tensors and tensors[name].shape != shape
    ]
    faults += [f"{layout.theirs(name)} has no place in this model" for name in tensors if name not in wanted]
    if faults:
        raise WeightsError(f"{origin}: {and_more(faults, 4)}")


def folded(tensors: dict[str, Tensor], clip: Clip, found: FoundWeights, remarks: list[str]) -> dict[str, Tensor]:
    """With the processor's mean and deviation of pixels taken into the first layer, where they are not ImageNet's."""
    mean, std = pixel_statistics(found.processor)
    if (mean, std) == (MEAN, STD):
        return tensors
    theirs_mean, theirs_std, our_mean, our_std = (
        torch.tensor(values, dtype=torch.float64).repeat_interleave(clip.tubelet_values // 3)
        for values in (mean, std, MEAN, STD)
    )
    weight, bias = tensors[EMBED].double(), tensors["encoder.embed.bias"].double()
    remarks.append(f"its pixels are normalised by mean {list(mean)} and std {list(std)}: taken into the first layer")
    return tensors | {
        EMBED: (weight * (our_std / theirs_std)).float(),
        "encoder.embed.bias": (bias + weight @ ((our_mean - theirs_mean) / theirs_std)).float(),
    }


def pixel_statistics(processor: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of pixels in [0, 1] by a preprocessor_config.json; those of ImageNet where there is none."""
    if not processor:
        return MEAN, STD
    if not processor.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    half = (0.5, 0.5, 0.5)  # what transformers takes where the file does not say
    return tuple(processor.get("image_mean", half)), tuple(processor.get("image_std", half))


def classes_of(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classifier's classes, where config.json has them; else their numbers."""
    count = len(tensors.get("head.linear.bias", ()))
    names = {int(number): str(name) for number, name in (config.get("id2label") or {}).items()}
    return tuple(names.get(number, str(number)) for number in range(count))
