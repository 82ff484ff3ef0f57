"""A small aligner, learned from a corpus's own frames and captions: a convolutional tower with a fine grid, a text
tower that reads any word, and a smooth maximum over patches, so that a caption need only fit its best patches."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import chz
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from tubelet.aligners.base import discard, read_aligner_about
from tubelet.aligners.config import STRIDE, Shape
from tubelet.aligners.vocabulary import Vocabulary
from tubelet.checksums import read_safetensors, write_json, write_safetensors
from tubelet.errors import WeightsError

FORMAT = 1


class Block(nn.Module):
    """A 5x5 neighbourhood, channel by channel, then the channels among themselves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.BatchNorm2d(width)
        self.mix = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.ReLU(), nn.Conv2d(2 * width, width, 1))

    def forward(self, x: Float[Tensor, "b w gh gw"]) -> Float[Tensor, "b w gh gw"]:
        return x + self.mix(self.norm(self.near(x)))


class ImageTower(nn.Module):
    """A cell sees about 100 pixels of a 96-pixel frame, most of all its own eight."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        half, width = shape.width // 2, shape.width
        self.stem = nn.Sequential(
            nn.Conv2d(3, half, 4, stride=4, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(*(Block(width) for _ in range(shape.depth)))
        self.head = nn.Conv2d(width, shape.joint, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, frames: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b gh gw e"]:
        pixels = (frames.permute(0, 3, 1, 2).float() - 112) / 64  # channels last in memory
        return self.head(self.blocks(self.stem(pixels))).permute(0, 2, 3, 1)


class TextTower(nn.Module):
    """Words as sums of their parts, one layer of attention so that they can bear on each other, and a weighted mean."""

    def __init__(self, shape: Shape, numbers: int, longest: int = 32) -> None:
        super().__init__()
        width = shape.text_width
        self.parts = nn.Embedding(numbers, width, padding_idx=0)
        self.indices = nn.Parameter(torch.zeros(longest, width))
        self.norm = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )
        self.weight = nn.Linear(width, 1)
        self.head = nn.Linear(width, shape.joint)

    def forward(self, parts: Int64[Tensor, "b words parts"], there: Bool[Tensor, "b words"]) -> Float[Tensor, "b e"]:
        count = (parts > 0).sum(-1, keepdim=True).clamp(min=1)
        words = self.parts(parts).sum(-2) / count.sqrt() + self.indices[: parts.shape[1]]
        heard = self.norm(words)
        words = words + self.attend(heard, heard, heard, key_padding_mask=~there, need_weights=False)[0]
        words = words + self.mix(words)
        share = self.weight(words).squeeze(-1).masked_fill(~there, -torch.inf).softmax(-1)
        return self.head((share[..., None] * words).sum(1))


class Towers(nn.Module):
    """What is trained and saved: both towers and the sharpness of the contrast."""

    def __init__(self, shape: Shape, numbers: int) -> None:
        super().__init__()
        self.image = ImageTower(shape)
        self.text = TextTower(shape, numbers)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))


class SmallAligner:
    """The small `Aligner` that `tubelet align` trains."""

    def __init__(self, shape: Shape, words: Vocabulary, towers: Towers, about: Mapping[str, Any] | None = None) -> None:
        self.shape, self.words, self.towers = shape, words, towers.eval()
        self.about = dict(about or {})
        self.width = shape.joint
        self.identity = f"learned:{digest_of_towers(shape, words, towers)}"

    @torch.inference_mode()
    def patches(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw e"]:
        return self.towers.image(torch.from_numpy(fit(frames, self.shape.side)))

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Float[Tensor, "b e"]:
        return self.towers.text(*self.words.encode(texts))

    def save(self, folder: Path) -> None:
        """`aligner.safetensors`, then `aligner.json`, which makes it complete."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "format": FORMAT,
            "shape": chz.asdict(self.shape),
            "words": list(self.words.seen),
            "identity": self.identity,
            **self.about,
        }
        state = {name: tensor.contiguous() for name, tensor in self.towers.state_dict().items()}
        discard(folder)
        write_safetensors(folder / "aligner.safetensors", state, {"identity": self.identity})
        write_json(folder / "aligner.json", about)

    @classmethod
    def load(cls, folder: str | Path) -> "SmallAligner":
        folder = Path(folder)
        try:
            about = read_aligner_about(folder)
            state, _ = read_safetensors(folder / "aligner.safetensors")
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"no aligner can be read from {folder}/aligner.safetensors ({error}); make one with `tubelet align`"
            ) from None
        if about.get("format") != FORMAT:
            raise WeightsError(f"{folder} holds an aligner of format {about.get('format')}; train it anew")
        shape, words = Shape(**about["shape"]), Vocabulary(tuple(about["words"]))
        towers = Towers(shape, words.size)
        wrong = towers.load_state_dict(state, strict=False)
        if wrong.missing_keys or wrong.unexpected_keys:
            names = ", ".join([*wrong.missing_keys, *wrong.unexpected_keys][:4])
            raise WeightsError(f"{folder}/aligner.safetensors does not fit aligner.json: {names}; train it anew")
        kept = {name: value for name, value in about.items() if name not in ("format", "shape", "words", "identity")}
        return cls(shape, words, towers, kept)


def fit(frames: UInt8[np.ndarray, "b h w 3"], side: int) -> UInt8[np.ndarray, "b h2 w2 3"]:
    """Resized so that the short side has `side` pixels and the long side a multiple of the grid's stride."""
    height, width = frames.shape[1:3]
    scale = side / min(height, width)
    rows, columns = (max(round(length * scale / STRIDE), 1) * STRIDE for length in (height, width))
    if (rows, columns) == (height, width):
        return np.ascontiguousarray(frames)
    planes = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    planes = functional.interpolate(planes, size=(rows, columns), mode="bilinear", antialias=True)
    return planes.permute(0, 2, 3, 1).contiguous().numpy()


def digest_of_towers(shape: Shape, words: Vocabulary, towers: Towers) -> str:
    """A name for exactly these weights."""
    made = hashlib.blake2b(repr((FORMAT, sorted(chz.asdict(shape).items()), words.seen)).encode(), digest_size=8)
    for name, tensor in sorted(towers.state_dict().items()):
        made.update(name.encode())
        made.update(tensor.detach().contiguous().numpy().tobytes())
    return made.hexdigest()
