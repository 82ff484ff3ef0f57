"""Frozen pretrained towers, of whose features an aligner is made: models of transformers, an encoder of tubelet.

A vision tower gives a feature for every cell of a grid over a frame, a text tower one for a text. Neither is trained.
Start reading at `open_vision` and `open_text`.
"""

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import chz
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from tubelet.aligners.clip import digest_of_model
from tubelet.aligners.pretrained import quiet_transformers, reachable
from tubelet.checksums import Damaged, read_safetensors, write_safetensors
from tubelet.errors import TubeletError, WeightsError
from tubelet.models.encoder import Encoder, Vit
from tubelet.types import Clip

IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
PIXELS = 32 * 224 * 224  # of one pass
ENCODER = "vision.safetensors"  # of an aligner on an encoder of tubelet
CELL = 32  # pixels of a convolutional network's last grid, where its config does not say


@runtime_checkable
class VisionTower(Protocol):
    """Frames to features. A class of one's own that has these works too: `align(..., vision=mine)`."""

    identity: str  # names weights and preprocessing
    width: int

    def features(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw c"]: ...


@runtime_checkable
class TextTower(Protocol):
    identity: str
    width: int

    def features(self, texts: list[str]) -> Float[Tensor, "b c"]: ...

    def unknown(self, word: str) -> bool:
        """Whether the tokenizer has nothing for a word, nor for its parts."""


class TransformersVision:
    """The last layer of a vision model; of a model of both towers, such as CLIP or SigLIP, the vision tower."""

    def __init__(self, model: Any, preprocessing: Mapping[str, Any], size: int, device: str | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = getattr(model, "vision_model", model).eval().requires_grad_(False).to(self.device)
        config = getattr(model.config, "vision_config", model.config)
        self.patch = int(getattr(config, "patch_size", None) or CELL)
        self.size = max(round(size / self.patch), 1) * self.patch
        said = {name: preprocessing.get(name) or usual for name, usual in IMAGENET.items()}
        self.mean, self.std = (torch.tensor(list(said[name]))[:, None, None] for name in IMAGENET)
        stretches = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        self.options = {"interpolate_pos_encoding": True} if stretches else {}
        self.identity = (
            f"{config.model_type}:{digest_of_model(self.model)}:{self.size}:{tuple(map(tuple, said.values()))}"
        )
        self.width = self.features(np.zeros((1, self.size, self.size, 3), np.uint8)).shape[-1]

    @torch.inference_mode()
    def features(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw c"]:
        scale = self.size / min(frames.shape[1:3])
        height, width = (max(round(length * scale / self.patch), 1) * self.patch for length in frames.shape[1:3])
        step = max(PIXELS // (height * width), 1)
        return torch.cat([self.read(frames[at : at + step], height, width) for at in range(0, len(frames), step)])

    def read(self, frames: UInt8[np.ndarray, "b h w 3"], height: int, width: int) -> Float[Tensor, "b gh gw c"]:
        pixels = (resized(frames, height, width) - self.mean) / self.std
        found = self.model(pixel_values=pixels.to(self.device), **self.options).last_hidden_state.float().cpu()
        if found.dim() == 4:  # a convolutional network
            return found.permute(0, 2, 3, 1)
        rows, columns = height // self.patch, width // self.patch
        if found.shape[1] < rows * columns:
            raise WeightsError(
                f"a {type(self.model).__name__} gives {found.shape[1]} tokens for {rows}x{columns} patches; take a "
                "vision model whose last layer has one for each patch"
            )
        return found[:, -rows * columns :].unflatten(1, (rows, columns))  # class and register tokens come first


class EncoderVision:
    """An encoder of tubelet, for which a frame is a clip that stands still; the mean over its time steps."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.clip, self.width = encoder.clip, encoder.width
        self.identity = f"encoder:{digest_of_model(encoder)}"

    @torch.inference_mode()
    def features(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw c"]:
        size, grid = self.clip.size, self.clip.grid
        found = []
        for at in range(0, len(frames), 16):
            shown = (resized(frames[at : at + 16], size, size) * 255).round().clamp(0, 255).to(torch.uint8)
            still = shown[:, :, None].expand(-1, -1, self.clip.frames, -1, -1)
            found.append(self.encoder.encode(still).float().unflatten(1, grid).mean(1))
        return torch.cat(found)

    def save(self, folder: Path) -> None:
        """A copy, so that what is made on it needs no run."""
        about = {"encoder": json.dumps(chz.asdict(self.encoder.config)), "clip": json.dumps(chz.asdict(self.clip))}
        state = {name: tensor.contiguous() for name, tensor in self.encoder.state_dict().items()}
        write_safetensors(folder / ENCODER, state, about)

    @classmethod
    def load(cls, folder: Path) -> "EncoderVision":
        try:
            state, about = read_safetensors(folder / ENCODER)
            size, clip = json.loads(about["encoder"]), json.loads(about["clip"])
            size["positions_of"] = size["positions_of"] and tuple(size["positions_of"])
            encoder = Vit(**size).build(Clip(**clip))
            encoder.load_state_dict(state)
        except (OSError, Damaged, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise WeightsError(f"{folder / ENCODER} is damaged ({first_line(error)}); make the aligner again") from None
        return cls(encoder)


class TransformersText:
    """The mean of the last layer over the tokens of a text; of a model of both towers, the text tower."""

    def __init__(self, model: Any, tokenizer: Any, device: str | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = getattr(model, "text_model", model).eval().requires_grad_(False).to(self.device)
        self.tokenizer = tokenizer
        config = getattr(model.config, "text_config", model.config)
        self.longest = min(int(getattr(config, "max_position_embeddings", 512)), 512)
        self.identity = f"{config.model_type}:{digest_of_model(self.model)}"
        self.width = self.features(["a"]).shape[-1]

    @torch.inference_mode()
    def features(self, texts: list[str]) -> Float[Tensor, "b c"]:
        return torch.cat([self.read(texts[at : at + 256]) for at in range(0, len(texts), 256)])

    def read(self, texts: list[str]) -> Float[Tensor, "b c"]:
        longest = self.longest
        words = self.tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        words = words.to(self.device)
        hidden = self.model(**{name: words[name] for name in ("input_ids", "attention_mask")}).last_hidden_state
        there = words["attention_mask"][..., None].float()
        return ((hidden.float() * there).sum(1) / there.sum(1)).cpu()

    def unknown(self, word: str) -> bool:
        numbers = self.tokenizer(word, add_special_tokens=False)["input_ids"]
        return self.tokenizer.unk_token_id is not None and self.tokenizer.unk_token_id in numbers


def open_vision(name: str, size: int, option: str = "--image") -> VisionTower:
    """The vision tower of a local folder or hub name that transformers loads."""
    model, transformers = pretrained(name, option)
    try:
        from transformers.image_processing_base import ImageProcessingMixin

        with quiet_transformers(transformers):
            preprocessing, _ = ImageProcessingMixin.get_image_processor_dict(name, local_files_only=True)
    except (OSError, ValueError):
        preprocessing = {}
    return TransformersVision(model, preprocessing, size)


def open_text(name: str, option: str = "--text") -> TextTower:
    model, transformers = pretrained(name, option)
    try:
        with quiet_transformers(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raise of many kinds
        raise WeightsError(f"{name} has no tokenizer that transformers can load: {first_line(error)}") from None
    return TransformersText(model, tokenizer)


def pretrained(name: str, option: str) -> tuple[Any, Any]:
    """A model of transformers and the library. `WeightsError` where it cannot be had, or is incomplete."""
    try:
        import transformers
    except ImportError as error:
        raise WeightsError(
            f"{name} needs transformers ({error}); install it with `pip install 'tubelet[vl]'`"
        ) from None
    local = Path(name).expanduser().is_dir()
    if not local and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise WeightsError(f"there is no folder {name}, and it is no name of the hub; give another with {option}")
    where = str(Path(name).expanduser()) if local else name
    try:
        with quiet_transformers(transformers):
            model, report = transformers.AutoModel.from_pretrained(
                where, local_files_only=local or not reachable(), trust_remote_code=False, output_loading_info=True
            )
    except Exception as error:  # transformers, the hub's client and the network raise of many kinds
        if local:
            raise WeightsError(f"{name} holds no model that transformers can load: {first_line(error)}") from None
        raise WeightsError(
            f"the weights of {name!r} are neither in the local cache nor to be fetched ({first_line(error)}); "
            f"offline, give a local folder that holds them: {option} PATH"
        ) from None
    if missing := [key for key in report["missing_keys"] if "pooler" not in key and not key.endswith("position_ids")]:
        raise WeightsError(f"{name} is incomplete; tensors missing: {', '.join(map(str, missing[:4]))}")
    return model, transformers


def resized(frames: UInt8[np.ndarray, "b h w 3"], height: int, width: int) -> Float[Tensor, "b 3 {height} {width}"]:
    """In [0, 1], bilinear with antialiasing."""
    planes = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    if planes.shape[2:] != (height, width):
        planes = functional.interpolate(planes, size=(height, width), mode="bilinear", antialias=True)
    return planes.float() / 255


def first_line(error: Exception) -> str:
    if isinstance(error, TubeletError):
        return str(error)
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
