"""Fine-tuning a CLIP or SigLIP on a corpus's own pairs, with the loss of the small aligner: the patches that maps are
made of are the ones that are trained, at the model's own size, so a caption need only fit its best patches.

What comes out is a folder that transformers opens, with `aligner.json` beside it. SigLIP is trained with this contrast
too, not with its sigmoid loss, and its bias is left alone. Start reading at `tune`.
"""

import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import chz
import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from tubelet.aligners.base import discard
from tubelet.aligners.clip import ClipAligner
from tubelet.aligners.config import ClipFinetuning, side_of
from tubelet.aligners.examples import Examples, split_validation
from tubelet.aligners.pretrained import load, quiet_transformers
from tubelet.aligners.scorers import read_tokens
from tubelet.aligners.small import FORMAT
from tubelet.aligners.training import Curve, TrainingCheckpoint, optimize
from tubelet.checksums import write_json
from tubelet.files import commit, sync, writing
from tubelet.progress import Progress, silent


def open_for_training(settings: ClipFinetuning, device: str | None = None) -> tuple[ClipAligner, ClipFinetuning]:
    """The model, and the settings with its size."""
    aligner = load(settings.model, reading="upsample", device=device, option="--from")
    return aligner, chz.replace(settings, size=aligner.native)


def tune(
    aligner: ClipAligner,
    examples: Examples,
    settings: ClipFinetuning,
    progress: Progress = silent,
    checkpoint: TrainingCheckpoint | None = None,
) -> tuple[ClipAligner, Curve]:
    """Trains the model that the aligner holds, in place; the aligner that comes back has the new identity."""
    own, held = split_validation(examples, settings)
    model = TrainableClip(aligner, own.texts, settings.blocks)
    curve = optimize(model, own, settings, held, progress, checkpoint)
    return type(aligner)(aligner.model, aligner.tokenizer, aligner.reading, aligner.scorer, str(aligner.device)), curve


class TrainableClip:
    """A CLIP or SigLIP in training."""

    def __init__(self, aligner: ClipAligner, texts: Sequence[str], blocks: int | None = None) -> None:
        self.read, self.all_texts, self.side = aligner, list(texts), side_of(aligner.native)
        self.module: nn.Module = aligner.model
        self.module.requires_grad_(blocks is None)
        for part in () if blocks is None else last(aligner.model, blocks):
            part.requires_grad_(True)

    def patches(self, frames: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b p e"]:
        read = self.read
        pixels = frames.to(read.device).permute(0, 3, 1, 2).float() / 255
        if pixels.shape[-1] != read.native:
            pixels = functional.interpolate(pixels, size=(read.native, read.native), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(three, device=read.device)[:, None, None] for three in (read.mean, read.std))
        with half(read.device):
            blocks = read.model.vision_model.encoder.layers
            tokens = read.project(read_tokens(blocks, read.embed((pixels - mean) / std), read.scorer))
        count = (read.native // read.patch) ** 2
        return tokens[:, -count:].float()

    def texts(self, numbers: Int64[Tensor, "c"], rng: np.random.Generator) -> Float[Tensor, "c e"]:
        with half(self.read.device):
            return self.read.name([self.all_texts[number] for number in numbers.tolist()]).float()

    def log_scale(self) -> Float[Tensor, "*one"]:
        scale: Tensor = self.read.model.logit_scale
        return scale.reshape(())

    def aligner(self) -> ClipAligner:
        self.module.eval()
        return self.read


def half(device: torch.device) -> Any:
    """bfloat16 where a GPU has it."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16) if fast else nullcontext()


def last(model: Any, blocks: int) -> list[Any]:
    """The last blocks of both towers, and what follows them up to the contrast."""
    vision, text = model.vision_model, model.text_model
    layers = [layer for tower in (vision, text) for layer in list(tower.encoder.layers)[::-1][:blocks]]
    after = [(vision, "post_layernorm"), (text, "final_layer_norm"), (vision, "head"), (text, "head")]
    after += [(model, "visual_projection"), (model, "text_projection"), (model, "logit_scale")]
    return layers + [getattr(owner, name) for owner, name in after if hasattr(owner, name)]


def save_finetuned(aligner: ClipAligner, folder: Path, about: Mapping[str, Any]) -> None:
    """The model and its tokenizer as transformers keeps them; then `aligner.json`, which makes the folder complete."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    discard(folder)
    with writing(folder / "new", folder=True) as part, quiet_transformers(transformers):
        aligner.model.save_pretrained(part)
        aligner.tokenizer.save_pretrained(part)
        files = {path.name: zlib.crc32(path.read_bytes()) for path in sorted(part.iterdir())}
        for name in files:
            sync(part / name)
            commit(part / name, folder / name)
    (folder / "new").rmdir()
    content = {"format": FORMAT, "family": aligner.family, "identity": aligner.identity, "files": files, **about}
    write_json(folder / "aligner.json", content)
