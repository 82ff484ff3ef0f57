"""One model, several implementations of it: each takes the same weights, clips and masks, and gives its gradients under
tubelet's names, so that they can be compared before they are timed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import chz
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from benchmarks.cases import Case, Dtype, Size
from tubelet.distributed import DistributedContext
from tubelet.maskers import Masker, Tube
from tubelet.models.patches import MEAN, STD
from tubelet.objectives import Pixels
from tubelet.recipes import videomae
from tubelet.recipes.pretrain import Pretrain
from tubelet.tasks import Pretraining
from tubelet.train import wrap
from tubelet.types import Batch, Clip, Mask, Words
from tubelet.weights.layouts import EMBED, Layout, from_layout, to_layout

RATE = 1e-6  # of the optimizer: weights stay near those that were compared


@dataclass(frozen=True)
class Clips:
    """Clips as tubelet gets them, and as the documents of others ask for them: normalised floats and a boolean mask."""

    batch: Batch
    mask: Mask
    pixels: Float[Tensor, "b c t h w"]
    hidden: Bool[Tensor, "b n"]

    @classmethod
    def of_batch(cls, batch: Batch) -> "Clips":
        """For tubelet alone, which draws its masks itself."""
        nothing = torch.empty(len(batch), 0)
        none = nothing.long()
        return cls(batch, Mask(none, none, none), nothing[:, :, None, None, None], nothing.bool())

    @classmethod
    def of_pixels(cls, pixels: Float[Tensor, "b 3 t h w"], hidden: Bool[Tensor, "b n"]) -> "Clips":
        """For others alone."""
        count = len(pixels)
        batch = Batch(torch.empty(count, 3, 1, 0, 0, dtype=torch.uint8), torch.arange(count), ("",) * count)
        return replace(cls.of_batch(batch), pixels=pixels, hidden=hidden)


class Implementation:
    """A model that is trained: subclasses compute the loss of a step, and features of whole clips."""

    name: str
    model: nn.Module
    same_loss = True  # false: of equal arithmetic, but another function
    modes: tuple[str, ...] = ("step", "forward", "features")

    def __init__(self, dtype: Dtype, device: torch.device):
        self.dtype: Dtype = dtype
        self.device = device
        self.shared: Implementation | None = None  # whose parameters and optimizer this one uses
        self._optimizer: torch.optim.Optimizer | None = None

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == "bf16")

    def loss(self, clips: Clips) -> Float[Tensor, ""]:
        raise NotImplementedError

    def features(self, clips: Clips) -> Float[Tensor, "b d"]:
        raise NotImplementedError

    def named_gradients(self) -> dict[str, Tensor]:
        """Under tubelet's names, in its order of values."""
        raise NotImplementedError

    def gradients(self, clips: Clips, dtype: Dtype | None = None) -> tuple[float, dict[str, Tensor]]:
        """The loss and every gradient, computed in this type."""
        kept, self.dtype = self.dtype, dtype or self.dtype
        try:
            self.model.zero_grad()
            loss = self.loss(clips)
            loss.backward()
            named = {name: value.detach().clone() for name, value in self.named_gradients().items()}
            self.model.zero_grad()
        finally:
            self.dtype = kept
        return float(loss.detach()), named

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        if self.shared is not None:
            return self.shared.optimizer
        if self._optimizer is None:
            self._optimizer = self.make_optimizer()
        return self._optimizer

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.05, fused=True)

    def step(self, clips: Clips) -> None:
        self.loss(clips).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()  # at the end, so that those who wait hold no gradients

    def forward(self, clips: Clips) -> Float[Tensor, ""]:
        with torch.no_grad():
            return self.loss(clips)


class Tubelet(Implementation):
    name = "tubelet"

    def __init__(self, config: Pretrain, dtype: Dtype, device: torch.device, text_width: int | None = None):
        super().__init__(dtype, device)
        torch.manual_seed(0)
        self.config = config
        self.task: Pretraining = config.build(text_width).to(device)
        self.model = wrap(self.task, DistributedContext(device, dtype), config)

    def loss(self, clips: Clips) -> Float[Tensor, ""]:
        with DistributedContext(self.device, self.dtype).autocast():
            loss: Tensor = self.model(clips.batch).loss
        return loss

    @torch.no_grad()
    def features(self, clips: Clips) -> Float[Tensor, "b d"]:
        with DistributedContext(self.device, self.dtype).autocast():
            return self.task.encoder.encode(clips.batch.video).float().mean(1)

    def named_gradients(self) -> dict[str, Tensor]:
        return {name: value.grad for name, value in self.task.named_parameters() if value.grad is not None}

    def make_optimizer(self) -> torch.optim.Optimizer:
        optimizer = self.config.optim.build(self.task)
        for group in optimizer.param_groups:
            group["lr"] = RATE
        return optimizer


class Named(Implementation):
    """A model whose weights go by the names of a published layout."""

    layout: Layout
    model: Any

    def load(self, state: Mapping[str, Tensor], case: Case) -> None:
        self.model.load_state_dict(to_layout(state, self.layout, case.of.clip))
        self.model.to(self.device)

    def named_gradients(self) -> dict[str, Tensor]:
        theirs = {name: value.grad for name, value in self.model.named_parameters() if value.grad is not None}
        ours = from_layout(theirs, self.layout, self.name)
        return ours | {EMBED: ours[EMBED].flatten(1)}


def recipe_of(case: Case, masker: Masker | None = None) -> Pretrain:
    """`videomae` at the size of the case."""
    return recipe_at(case.of, masker or Tube(ratio=case.ratio))


def recipe_at(size: Size, masker: Masker) -> Pretrain:
    return chz.replace(
        videomae(),
        clip=size.clip,
        encoder=size.encoder,
        masker=masker,
        objectives={"pixels": Pixels(decoder=size.decoder)},
    )


def clips_for(implementation: Tubelet, batch: Batch) -> Clips:
    """The mask is the one that tubelet draws of these clips."""
    task = implementation.task
    batch = batch.to(implementation.device)
    with torch.no_grad():
        mask = task.draw(batch)
    return Clips(batch, mask, normalised(batch.video), mask_of(mask, task.clip.num_tubelets))


def batch_of(clip: Clip, count: int, seed: int = 0) -> Batch:
    """Clips of smooth moving noise: their tubelets have a mean and a spread, as those of videos have. Of another signal
    than frames, plain noise; of words, any."""
    random = torch.Generator().manual_seed(seed)
    key, ids = torch.arange(count) * 7919 + seed, tuple(map(str, range(count)))
    if isinstance(clip, Words):
        numbers = torch.randint(1, clip.vocabulary, (count, clip.channels, *clip.whole), generator=random)
        return Batch(numbers.float(), key, ids)
    if clip.track:
        return Batch(torch.rand(count, clip.channels, *clip.whole, generator=random) * 2 - 1, key, ids)
    coarse = torch.rand(count, 3, clip.frames // 2 + 1, clip.size // 8, clip.size // 8, generator=random)
    video = nn.functional.interpolate(coarse, (clip.frames, clip.size, clip.size), mode="trilinear")
    noise = 0.1 * torch.rand(video.shape, generator=random)
    return Batch((255 * (0.9 * video + noise)).to(torch.uint8), key, ids)


def rows(batch: Batch, count: int) -> Batch:
    """The first clips of a batch that has no streams."""
    return replace(
        batch,
        video=batch.video[:count],
        key=batch.key[:count],
        ids=batch.ids[:count],
        maps={name: values[:count] for name, values in batch.maps.items()},
    )


def normalised(video: UInt8[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 3 t h w"]:
    mean, std = (torch.tensor(values, device=video.device).view(3, 1, 1, 1) for values in (MEAN, STD))
    return (video / 255 - mean) / std


def mask_of(mask: Mask, tubelets: int) -> Bool[Tensor, "b n"]:
    chosen = torch.zeros(len(mask.hidden), tubelets, dtype=torch.bool, device=mask.hidden.device)
    return chosen.scatter_(1, mask.hidden, True)


def relative(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """The largest difference of a tensor, over the largest value of that tensor in `b`; the worst tensor's."""
    if set(a) != set(b):
        raise ValueError(f"gradients of {sorted(set(a) ^ set(b))[:3]} are on one side alone")
    return max(float((a[name] - b[name]).abs().max() / b[name].abs().max().clamp_min(1e-30)) for name in b)


def error(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """The norm of the difference of all gradients together, over that of `b`."""
    apart = sum(squared(a[name] - b[name]) for name in b)
    return (apart / sum(squared(value) for value in b.values())) ** 0.5


def squared(values: Tensor) -> float:
    return float(values.square().sum(dtype=torch.float64))
