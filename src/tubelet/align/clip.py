"""CLIP through transformers, read patch by patch: from a hub name or a local folder.

`dense`: CLIP on the frame enlarged so that its own tokens make the grid, positions interpolated. `upsample`: tokens at
CLIP's own resolution, bilinear to the grid. `crop`: every patch of the grid resized and encoded as an image of its own.
Tokens pass CLIP's post-layernorm and visual projection. The grid has a short side of 14 and follows the aspect ratio.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from tubelet.data.maps import map_grid
from tubelet.errors import WeightsError

READINGS = ("dense", "upsample", "crop")
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PIXELS = 64 * 224 * 224  # of one pass through the model


class ClipAligner:
    """An `Aligner` on a frozen `CLIPModel` and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, reading: str = "dense", device: str | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.eval().requires_grad_(False).to(self.device)
        self.tokenizer, self.reading = tokenizer, reading
        self.width = int(model.config.projection_dim)
        self.patch = int(model.config.vision_config.patch_size)
        self.native = int(model.config.vision_config.image_size)
        self.longest = int(model.config.text_config.max_position_embeddings)
        self.identity = f"clip:{digest(model)}:{reading}"

    @classmethod
    def load(cls, name: str, reading: str = "dense", device: str | None = None) -> "ClipAligner":
        """From a local folder or a hub name. `WeightsError` where transformers or the weights are absent."""
        try:
            import transformers
            from transformers import AutoTokenizer, CLIPModel
        except ImportError as error:
            raise WeightsError(
                f"CLIP needs transformers ({error}); install it with `pip install 'tubelet[vl]'`"
            ) from None
        try:
            with silent(transformers):
                offline = os.path.isdir(name) or not reachable()
                tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=offline)
                model, report = CLIPModel.from_pretrained(name, local_files_only=offline, output_loading_info=True)
        except Exception as error:  # transformers, the hub's client and the network raise of many kinds
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            if os.path.isdir(name):
                raise WeightsError(f"{name} holds no CLIP that transformers can load: {reason}") from None
            raise WeightsError(
                f"the weights of {name!r} are neither in the local cache nor to be fetched ({reason}); "
                "offline, give a local folder that holds them: --aligner PATH"
            ) from None
        wrong = [*report["missing_keys"], *report["unexpected_keys"]]
        if wrong := [key for key in wrong if not str(key).endswith("position_ids")]:
            raise WeightsError(
                f"{name} is no complete CLIP; tensors missing or unknown: {', '.join(map(str, wrong[:4]))}"
            )
        return cls(model, tokenizer, reading, device)

    @torch.inference_mode()
    def patches(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw e"]:
        rows, columns = map_grid(*frames.shape[1:3])
        if self.reading == "crop":
            return torch.stack([self.encode_crops(frame, rows, columns) for frame in frames])
        if self.reading == "dense":
            tokens = self.tokens(frames, rows * self.patch, columns * self.patch)
        else:
            scale = self.native / min(frames.shape[1:3])
            height, width = (max(round(length * scale / self.patch), 1) * self.patch for length in frames.shape[1:3])
            tokens = self.tokens(frames, height, width)
        if tokens.shape[1:3] == (rows, columns):
            return tokens
        planes = tokens.permute(0, 3, 1, 2)
        return functional.interpolate(planes, size=(rows, columns), mode="bilinear").permute(0, 2, 3, 1)

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Float[Tensor, "b e"]:
        found = []
        for at in range(0, len(texts), 256):
            words = self.tokenizer(
                texts[at : at + 256], padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
            ).to(self.device)
            pooled = self.model.text_model(input_ids=words["input_ids"], attention_mask=words["attention_mask"])
            found.append(self.model.text_projection(pooled.pooler_output).float().cpu())
        return torch.cat(found)

    def tokens(self, frames: UInt8[np.ndarray, "b h w 3"], height: int, width: int) -> Float[Tensor, "b gh gw e"]:
        """The projected patch tokens of the frames at this size."""
        vision = self.model.vision_model
        found = []
        step = max(PIXELS // (height * width), 1)
        for at in range(0, len(frames), step):
            pixels = preprocess(frames[at : at + step], height, width).to(self.device)
            seen = vision(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
            tokens = self.model.visual_projection(vision.post_layernorm(seen))
            found.append(tokens.unflatten(1, (height // self.patch, width // self.patch)).float().cpu())
        return torch.cat(found)

    def encode_crops(self, frame: UInt8[np.ndarray, "h w 3"], rows: int, columns: int) -> Float[Tensor, "gh gw e"]:
        """Every patch of one frame as an image of its own."""
        down = np.rint(np.linspace(0, frame.shape[0], rows + 1)).astype(int)
        across = np.rint(np.linspace(0, frame.shape[1], columns + 1)).astype(int)
        found = []
        for row in range(rows):
            top, bottom = down[row], max(down[row + 1], down[row] + 1)
            cut = [
                preprocess(frame[None, top:bottom, left : max(right, left + 1)], self.native, self.native)
                for left, right in pairwise(across)
            ]
            seen = self.model.vision_model(pixel_values=torch.cat(cut).to(self.device)).pooler_output
            found.append(self.model.visual_projection(seen).float().cpu())
        return torch.stack(found)


def preprocess(
    frames: UInt8[np.ndarray, "b h w 3"], height: int, width: int
) -> Float32[Tensor, "b 3 {height} {width}"]:
    """CLIP's own: bicubic on bytes by Pillow, then mean and deviation."""
    from PIL import Image

    resized = [
        np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
        for frame in np.ascontiguousarray(frames)
    ]
    pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def digest(model: Any) -> str:
    """A name for exactly these weights."""
    made = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        made.update(name.encode())
        made.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return made.hexdigest()


def reachable() -> bool:
    """Whether the hub answers at all. Its client would try for a minute and a half before it says no."""
    import urllib.error
    import urllib.request

    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    try:
        urllib.request.urlopen(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def silent(transformers: Any) -> Iterator[None]:
    """Without the library's own bars and warnings: what goes wrong is said once, by us."""
    import logging as python_logging

    library = transformers.utils.logging
    level, hub = library.get_verbosity(), python_logging.getLogger("huggingface_hub")
    before = hub.level
    library.set_verbosity_error()
    library.disable_progress_bar()
    hub.setLevel(python_logging.ERROR)
    try:
        yield
    finally:
        library.set_verbosity(level)
        library.enable_progress_bar()
        hub.setLevel(before)
