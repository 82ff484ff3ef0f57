"""An encoder as a file of plain PyTorch and its weights, for code without tubelet."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tubelet.formats.graphs import BATCHES, VideoModel, largest_difference, random_clips

TEXT = Path(__file__).with_name("encoder.py.txt")


def write_plain(model: VideoModel, classes: Sequence[str], folder: Path) -> float:
    """Writes encoder.py and encoder.pth; returns how far what they give is from the model."""
    encoder, head = model.encoder, model.classifier
    config, clip = encoder.config, encoder.clip
    about = {
        "width": config.width,
        "depth": config.depth,
        "heads": config.heads,
        "hidden": int(config.width * config.mlp_ratio),
        "eps": config.layer_norm_eps,
        "final_norm": config.final_norm,
        "grid": clip.grid,
        "tubelet": clip.tubelet,
        "classes": list(classes) if head is not None else [],
        "head_eps": None if head is None or head.norm is None else head.norm.eps,
    }
    tensors: dict[str, Tensor] = dict(encoder.state_dict())
    tensors |= {name: getattr(encoder, name) for name in ("scale", "shift", "positions")}
    if head is not None:
        named = {"linear": "head", "norm": "head_norm"}
        for name, value in head.state_dict().items():
            part, _, kind = name.partition(".")
            tensors[f"{named[part]}.{kind}"] = value
    text = TEXT.read_text(encoding="utf-8").replace("CONFIG = {}", f"CONFIG = {about!r}")
    (folder / "encoder.py").write_text(text, encoding="utf-8")
    torch.save({name: value.detach().contiguous() for name, value in tensors.items()}, folder / "encoder.pth")
    loaded = module_of(folder / "encoder.py").load()
    alone = VideoModel(encoder, classifier=head).eval()
    clips = [(random_clips(encoder, batch),) for batch in BATCHES]
    with torch.no_grad():
        return largest_difference(
            alone, lambda *given: [value.numpy() for value in loaded(*given)], clips, folder / "encoder.pth"
        )


def module_of(path: Path) -> Any:
    """What was just written, as Python imports it."""
    spec = importlib.util.spec_from_file_location("plain_encoder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
