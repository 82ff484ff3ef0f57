"""Weights in one safetensors file, under the names of other code."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from tubelet.models.decoder import Reconstructor
from tubelet.models.encoder import Encoder
from tubelet.weights.layouts import DECODER, LAYOUTS, OFFICIAL, to_layout


def write_named_weights(
    encoder: Encoder,
    path: Path,
    layout: str = "official",
    *,
    decoder: Reconstructor | None = None,
    head: Mapping[str, Tensor] | None = None,
) -> float:
    """Writes the file; returns the largest difference of what is read again: 0.

    Official names are those of pretraining (`encoder.`) with a decoder, else those of fine-tuning, without a prefix:
    what timm-style code expects.
    """
    ours = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    if decoder is not None:
        ours |= {f"{DECODER}.{name}": value for name, value in decoder.state_dict().items()}
    if head:
        ours |= {f"head.{name}": value for name, value in head.items()}
    theirs = to_layout({name: value.detach().cpu() for name, value in ours.items()}, LAYOUTS[layout], encoder.clip)
    if LAYOUTS[layout] is OFFICIAL and decoder is None:
        theirs = {name.removeprefix("encoder."): value for name, value in theirs.items()}
    save_file(theirs, path, metadata={"layout": layout})
    again = load_file(path)
    return max(float((again[name] - value).abs().max()) for name, value in theirs.items())
