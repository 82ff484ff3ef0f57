"""CLIP through transformers, read patch by patch.

A reading makes the grid. `dense`: CLIP on the frame enlarged so that its own tokens make the grid, positions
interpolated. `upsample`: tokens at CLIP's own resolution, bilinear to the grid. `crop`: every patch of the grid resized
and encoded as an image of its own. A scorer says which tokens are read: `tubelet.aligners.scorers`. Tokens pass CLIP's
post-layernorm and visual projection. The grid has a short side of 14 and follows the aspect ratio.
"""

import hashlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from tubelet.aligners.scorers import SCORERS, read_tokens
from tubelet.errors import WeightsError
from tubelet.stores.maps import map_grid

READINGS = ("dense", "upsample", "crop")
PIXELS = 64 * 224 * 224  # of one pass through the model


class ClipAligner:
    """An `Aligner` on a frozen `CLIPModel` and its tokenizer."""

    family: ClassVar[str] = "clip"
    mean: ClassVar[tuple[float, float, float]] = (0.48145466, 0.4578275, 0.40821073)
    std: ClassVar[tuple[float, float, float]] = (0.26862954, 0.26130258, 0.27577711)

    def __init__(
        self, model: Any, tokenizer: Any, reading: str = "dense", scorer: str = "raw", device: str | None = None
    ) -> None:
        """`WeightsError` for a reading or scorer that there is not, and for `crop` with a scorer of tokens."""
        check_reading(reading, scorer)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.eval().requires_grad_(False).to(self.device)
        self.tokenizer, self.reading, self.scorer = tokenizer, reading, scorer
        self.width = self.joint()
        self.patch = int(model.config.vision_config.patch_size)
        self.native = int(model.config.vision_config.image_size)
        self.longest = int(model.config.text_config.max_position_embeddings)
        self.identity = f"{self.family}:{digest_of_model(model)}:{reading}" + ("" if scorer == "raw" else f":{scorer}")

    @torch.inference_mode()
    def patches(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw e"]:
        rows, columns = map_grid(*frames.shape[1:3])
        if self.reading == "crop":
            return torch.stack([self.encode_crops(frame, rows, columns) for frame in frames])
        tokens = self.tokens(frames, *self.size(frames))
        if tokens.shape[1:3] == (rows, columns):
            return tokens
        planes = tokens.permute(0, 3, 1, 2)
        return functional.interpolate(planes, size=(rows, columns), mode="bilinear").permute(0, 2, 3, 1)

    @torch.inference_mode()
    def attention(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b gh gw"]:
        """How much the image's own token attends to every place in the last block, the mean over heads.

        It sums to at most 1 over a frame. `WeightsError` for the reading `crop`, whose patches do not see each other.
        """
        if self.reading == "crop":
            raise WeightsError("attention is read of whole frames: take the reading dense or upsample, not crop")
        return self.read(frames, *self.size(frames), lambda tokens: self.attention_weights(tokens)[..., None])[..., 0]

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Float[Tensor, "b e"]:
        return torch.cat([self.name(texts[at : at + 256]).float().cpu() for at in range(0, len(texts), 256)])

    def size(self, frames: UInt8[np.ndarray, "b h w 3"]) -> tuple[int, int]:
        """Height and width, in pixels, at which the model looks at these frames."""
        if self.reading == "dense":
            rows, columns = map_grid(*frames.shape[1:3])
            return rows * self.patch, columns * self.patch
        scale = self.native / min(frames.shape[1:3])
        height, width = (max(round(length * scale / self.patch), 1) * self.patch for length in frames.shape[1:3])
        return height, width

    def read(
        self, frames: UInt8[np.ndarray, "b h w 3"], height: int, width: int, of: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "b gh gw e"]:
        """What `of` makes of the tokens that enter the first block, patch by patch, at this size."""
        found = []
        step = max(PIXELS // (height * width), 1)
        grid = height // self.patch, width // self.patch
        for at in range(0, len(frames), step):
            pixels = self.preprocess(frames[at : at + step], height, width).to(self.device)
            found.append(of(self.embed(pixels))[:, -grid[0] * grid[1] :].unflatten(1, grid).float().cpu())
        return torch.cat(found)

    def tokens(self, frames: UInt8[np.ndarray, "b h w 3"], height: int, width: int) -> Float[Tensor, "b gh gw e"]:
        """The patch tokens of the frames at this size in the joint space, read as the scorer says."""
        blocks = self.model.vision_model.encoder.layers
        return self.read(frames, height, width, lambda tokens: self.project(read_tokens(blocks, tokens, self.scorer)))

    def encode_crops(self, frame: UInt8[np.ndarray, "h w 3"], rows: int, columns: int) -> Float[Tensor, "gh gw e"]:
        """Every patch of one frame as an image of its own."""
        down = np.rint(np.linspace(0, frame.shape[0], rows + 1)).astype(int)
        across = np.rint(np.linspace(0, frame.shape[1], columns + 1)).astype(int)
        found = []
        for row in range(rows):
            top, bottom = down[row], max(down[row + 1], down[row] + 1)
            cut = [
                self.preprocess(frame[None, top:bottom, left : max(right, left + 1)], self.native, self.native)
                for left, right in pairwise(across)
            ]
            found.append(self.encode(torch.cat(cut).to(self.device)).float().cpu())
        return torch.stack(found)

    @classmethod
    def preprocess(
        cls, frames: UInt8[np.ndarray, "b h w 3"], height: int, width: int
    ) -> Float32[Tensor, "b 3 {height} {width}"]:
        """The model's own: bicubic on bytes by Pillow, then mean and deviation."""
        from PIL import Image

        resized = [
            np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
            for frame in np.ascontiguousarray(frames)
        ]
        pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255
        return (pixels - torch.tensor(cls.mean)[:, None, None]) / torch.tensor(cls.std)[:, None, None]

    # What differs from family to family

    def joint(self) -> int:
        """The width of the space that images and texts share."""
        return int(self.model.config.projection_dim)

    def embed(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        """The tokens that enter the first block; those of patches stand last."""
        vision = self.model.vision_model
        return vision.pre_layrnorm(vision.embeddings(pixels, interpolate_pos_encoding=True))

    def project(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n e"]:
        """Each token after the last block, in the joint space."""
        return self.model.visual_projection(self.model.vision_model.post_layernorm(tokens))

    def attention_weights(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
        """The attention of the class token to every token in the last block, the mean over heads."""
        *early, last = self.model.vision_model.encoder.layers
        for block in early:
            tokens = block(tokens, None)
        inside, inner = last.self_attn, last.layer_norm1(tokens)
        q = rearrange(inside.q_proj(inner[:, :1]), "b o (h c) -> b h o c", h=inside.num_heads)
        k = rearrange(inside.k_proj(inner), "b n (h c) -> b h n c", h=inside.num_heads)
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1).mean(1)[:, 0]

    def encode(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        """Whole images of the model's own size."""
        return self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)

    def name(self, texts: list[str]) -> Float[Tensor, "b e"]:
        words = self.tokenizer(texts, padding=True, truncation=True, max_length=self.longest, return_tensors="pt").to(
            self.device
        )
        pooled = self.model.text_model(input_ids=words["input_ids"], attention_mask=words["attention_mask"])
        return self.model.text_projection(pooled.pooler_output)


def check_reading(reading: str, scorer: str) -> None:
    for kind, word, words in (("reading", reading, READINGS), ("scorer", scorer, SCORERS)):
        if word not in words:
            raise WeightsError(f"there is no {kind} {word!r} of CLIP; one of: {', '.join(words)}")
    if reading == "crop" and scorer != "raw":
        raise WeightsError(
            f"the crop reading encodes every patch as a whole image and reads no tokens: scorer {scorer!r} "
            "goes with dense or upsample"
        )


def digest_of_model(model: Any) -> str:
    """A name for exactly these weights."""
    made = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        made.update(name.encode())
        made.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return made.hexdigest()
