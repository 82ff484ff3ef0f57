"""Text-guided masking as tubelet trains it, and assembled from parts. Start reading at `works`.

Assembled, as a user would today: a random resized crop in float, CLIP's vision tower on every frame of every step,
similarity with the caption's embedding, a Python loop over clips and time steps that hides the most alike, and
transformers' VideoMAE. Both start from decoded frames and the caption's embedding, and show the encoder equally many
tubelets; which of them differs, as the map is another one. Weights are random.
"""

import copy
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from benchmarks.cases import Case
from benchmarks.implementations import Clips, Tubelet, recipe_of
from benchmarks.peers import Transformers
from benchmarks.timing import Work
from tubelet.maskers import All, Decode, Masker, RunningCell, Text
from tubelet.models.patches import MEAN, STD
from tubelet.stores.resample import sample_scalar
from tubelet.types import Batch, Clip
from tubelet.video.crop import Crop, crop_frames

HEIGHT, WIDTH = 256, 340  # of decoded frames
MAP_RATE, MAP_SIDE = 4.0, 14  # layers a second of a cached map, and its rows
JOINT = 512
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CACHED, RANDOM, DUAL, ASSEMBLED = (
    "tubelet, cached text maps",
    "tubelet, random masks",
    "tubelet, cached text maps, half decoded",
    "assembled from parts",
)


def works(case: Case, device: torch.device, tower_depth: int = 12) -> dict[str, Work]:
    """A training step each, from decoded frames on."""
    tubelet = Tubelet(recipe_of(case, Text(ratio=case.ratio)), case.dtype, device)
    frames = [decoded(case.of.clip.frames, seed) for seed in range(case.batch)]
    found: dict[str, Work] = {}
    for name, masker, decode in (
        (CACHED, tubelet.task.masker, All()),
        (RANDOM, Text(ratio=case.ratio, pick="random"), All()),
        (DUAL, tubelet.task.masker, RunningCell(share=0.5)),
    ):
        found[name] = Loaded(variant(tubelet, masker, decode), frames)
    found[ASSEMBLED] = Assembled(case, tubelet.task.state_dict(), frames, device, tower_depth)
    return found


def decoded(count: int, seed: int) -> UInt8[np.ndarray, "t h w 3"]:
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def variant(tubelet: Tubelet, masker: Masker, decode: Decode) -> Tubelet:
    """The same weights and optimizer under another mask."""
    other = copy.copy(tubelet)
    other.task = copy.deepcopy(tubelet.task, {id(part): part for part in tubelet.task.parameters()})
    other.task.masker, other.task.decode = masker, decode
    other.model, other.shared = other.task, tubelet
    return other


class Loaded:
    """A step of tubelet with what its loader does after decoding: crop and resize in one pass of bytes, and the map
    through the same crop."""

    def __init__(self, tubelet: Tubelet, frames: list[UInt8[np.ndarray, "t h w 3"]]) -> None:
        self.tubelet, self.frames = tubelet, frames
        self.augment = tubelet.config.data.augment
        self.random = np.random.default_rng(0)
        seconds = 64 / 30
        self.stamps = np.arange(0, seconds + 1 / MAP_RATE, 1 / MAP_RATE)
        shape = (len(self.stamps), MAP_SIDE, round(MAP_SIDE * WIDTH / HEIGHT))
        self.layers = np.random.default_rng(1).random(shape, dtype=np.float32).astype(np.float16)
        self.times = np.linspace(0, seconds, len(frames[0]))

    def __call__(self) -> None:
        clip = self.tubelet.task.clip
        crops = [self.augment.draw(self.random, HEIGHT, WIDTH) for _ in self.frames]
        video = torch.stack([crop_frames(f, crop, clip.size) for f, crop in zip(self.frames, crops, strict=True)])
        maps = {"text": torch.from_numpy(np.stack([self.map(crop, clip) for crop in crops]))}
        if not self.tubelet.task.needs:
            maps = {}
        batch = Batch(video, torch.arange(len(video)), tuple(map(str, range(len(video)))), maps=maps)
        self.tubelet.step(Clips.of_batch(batch.to(self.tubelet.device)))

    def map(self, crop: Crop, clip: Clip) -> Float[np.ndarray, "n"]:
        return sample_scalar(self.layers, self.stamps, self.times, crop, clip)


class Assembled:
    """The same step out of transformers, a CLIP and a loop."""

    def __init__(
        self,
        case: Case,
        state: Mapping[str, Tensor],
        frames: list[UInt8[np.ndarray, "t h w 3"]],
        device: torch.device,
        tower_depth: int,
    ) -> None:
        import transformers

        self.clip, self.ratio, self.device = case.of.clip, case.ratio, device
        self.peer = Transformers(case, state, device)
        config = transformers.CLIPVisionConfig(  # ViT-B/32
            projection_dim=JOINT, num_hidden_layers=tower_depth, attn_implementation="sdpa"
        )
        self.tower = transformers.CLIPVisionModelWithProjection(config).eval().to(device)
        self.caption = F.normalize(torch.randn(len(frames), JOINT), dim=1).to(device)
        self.frames = [torch.from_numpy(one).permute(0, 3, 1, 2) for one in frames]
        self.augment = recipe_of(case).data.augment
        self.random = np.random.default_rng(0)

    def __call__(self) -> None:
        pixels = torch.stack([self.cropped(one) for one in self.frames]).to(self.device)  # b t 3 h w
        hidden = self.hide(self.similarity(pixels))
        mean, std = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (MEAN, STD))
        self.peer.step(Clips.of_pixels(((pixels - mean) / std).transpose(1, 2), hidden))

    def cropped(self, frames: UInt8[Tensor, "t 3 y x"]) -> Float[Tensor, "t 3 h w"]:
        """To floats first, then crop and resize: torchvision's RandomResizedCrop on a float clip."""
        top, left, rows, columns = self.augment.draw(self.random, HEIGHT, WIDTH).pixels(HEIGHT, WIDTH)
        inside = (frames.float() / 255)[..., top : top + rows, left : left + columns]
        return F.interpolate(inside, (self.clip.size, self.clip.size), mode="bilinear", antialias=True)

    @torch.no_grad()
    def similarity(self, pixels: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b nt p"]:
        """Of every patch of every frame with the caption, at the positions of tubelets."""
        mean, std = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
        frames = ((pixels - mean) / std).flatten(0, 1)
        if self.clip.size != 224:
            frames = F.interpolate(frames, (224, 224), mode="bilinear")
        with self.peer.autocast():
            tokens = self.tower.vision_model(frames).last_hidden_state[:, 1:]
            joint = self.tower.visual_projection(self.tower.vision_model.post_layernorm(tokens))
        joint = F.normalize(joint.float(), dim=-1).unflatten(0, pixels.shape[:2])
        similar = torch.einsum("btne,be->btn", joint, self.caption)  # b t 49
        time_steps, rows, columns = self.clip.grid
        grids = F.interpolate(similar.unflatten(2, (7, 7)), (rows, columns), mode="bilinear")
        return grids.flatten(2).unflatten(1, (time_steps, -1)).mean(2)

    def hide(self, similarity: Float[Tensor, "b nt p"]) -> Bool[Tensor, "b n"]:
        count = int(self.ratio * similarity.shape[2])
        hidden = torch.zeros(similarity.shape, dtype=torch.bool, device=self.device)
        for clip in range(len(similarity)):
            for time_step in range(similarity.shape[1]):
                hidden[clip, time_step, similarity[clip, time_step].argsort(descending=True)[:count]] = True
        return hidden.flatten(1)


def visible_counts(found: Mapping[str, Work]) -> set[int]:
    """Of every implementation, how many tubelets its encoder sees."""
    counts = set()
    for one in found.values():
        if isinstance(one, Loaded):
            task = one.tubelet.task
            counts.add(task.clip.num_tubelets - task.masker.budget(task.clip).total)
        elif isinstance(one, Assembled):
            nt, *positions = one.clip.grid
            mask = one.hide(torch.rand(1, nt, positions[0] * positions[1]))
            counts.add(int((~mask).sum()))
    return counts
