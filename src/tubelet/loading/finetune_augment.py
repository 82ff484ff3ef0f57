"""The augmentation of fine-tuning: small crops, RandAugment, random erasing, several clips of one decoded piece."""

import math

import chz
import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.loading.augment import Augment
from tubelet.loading.randaugment import RandAugment

MEAN = np.array((0.485, 0.456, 0.406)) * 255  # of ImageNet: what the model subtracts and divides by
STD = np.array((0.229, 0.224, 0.225)) * 255


@chz.chz
class FinetuneAugment(Augment):
    """What VideoMAE is fine-tuned with. RandAugment is applied after the crop, as timm does for pictures."""

    smallest: float = chz.field(default=0.08, doc="smallest share of the frame's area that a crop covers")
    randaugment: RandAugment = chz.field(default_factory=RandAugment, doc="changes of colour and shape, of whole clips")
    erase: float = chz.field(default=0.25, doc="probability that a rectangle of the clip is replaced by noise")
    repeats: int = chz.field(default=2, doc="clips made of one decoded piece, each augmented in its own way")

    @chz.validate
    def _sensible(self) -> None:
        if not 0 <= self.erase <= 1:
            raise RecipeError(f"augment.erase={self.erase:g} must be 0 to 1")

    def apply(self, frames: UInt8[Tensor, "3 t h w"], rng: np.random.Generator) -> UInt8[Tensor, "3 t h w"]:
        changes = self.randaugment.draw(rng)
        if changes:
            pixels = rearrange(frames, "c t h w -> t h w c").contiguous().numpy()
            for change in changes:
                pixels = change(pixels)
            frames = rearrange(torch.from_numpy(pixels), "t h w c -> c t h w").contiguous()
        return erased(frames, rng) if rng.random() < self.erase else frames


def erased(frames: UInt8[Tensor, "3 t h w"], rng: np.random.Generator) -> UInt8[Tensor, "3 t h w"]:
    """Random erasing (Zhong et al., AAAI 2020), one rectangle for all frames: 2 % to a third of the area, at most 3.3
    times longer than wide, filled with normal noise of the mean and deviation of pictures, new in every frame."""
    _, depth, height, width = frames.shape
    for _ in range(10):
        area, shape, down, along = rng.random(4).tolist()
        pixels = (0.02 + area * (1 / 3 - 0.02)) * height * width
        aspect = math.exp((2 * shape - 1) * math.log(0.3))
        rows, columns = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < rows < height and 0 < columns < width:
            top, left = int(down * (height - rows + 1)), int(along * (width - columns + 1))
            noise = rng.normal(MEAN, STD, (depth, rows, columns, 3)).round().clip(0, 255).astype(np.uint8)
            changed = frames.clone()
            changed[:, :, top : top + rows, left : left + columns] = torch.from_numpy(noise).permute(3, 0, 1, 2)
            return changed
    return frames
