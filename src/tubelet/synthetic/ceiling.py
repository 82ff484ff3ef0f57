"""How well the label of `synth-1` can be predicted from pixels alone: a small supervised network on fresh clips.

`tubelet synth --ceiling FILE` trains it and writes the figure with its conditions; `CEILING` is the figure that every
table of results prints beside its own. The network sees neither caption nor truth, and is trained on other clips
(another seed) than any corpus of the default seed holds, without the held-out combinations.
"""

import multiprocessing
import platform
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.checksums import Record, write_json
from tubelet.progress import Progress, silent
from tubelet.synthetic.render import render
from tubelet.synthetic.scene import VERBS, draw_scene

FRESH_SEED = 1_000_003
REVERSED = {"grows": "shrinks", "shrinks": "grows"}  # what a clip played backwards shows; the others stay


@dataclass(frozen=True)
class Reference:
    """How the reference is trained and tested."""

    train: int = 4000
    test: int = 400
    epochs: int = 3
    batch: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
    pixels: int = 48
    frames: int = 32
    stride: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Ceiling:
    """Accuracy on the test clips of seed 0, and on those of held-out combinations."""

    accuracy: float
    held_out: float
    conditions: str


CEILING = Ceiling(
    accuracy=0.9975,
    held_out=1.0,
    conditions=(
        "3-D convolutional network on 16 frames of 48x48, supervised, "
        "4000 fresh clips x 3 epochs, tested on 400 test clips before compression"
    ),
)


def measure_ceiling(how: Reference, workers: int = 1, progress: Progress = silent) -> Record:
    """Renders, trains, tests; the content of the result file."""
    started = time.perf_counter()
    clips, labels = render_clips(how, "train", how.train, FRESH_SEED + how.seed, workers)
    net = train_reference(how, clips, labels, progress)
    clips, labels = render_clips(how, "test", how.test, 0, workers)
    right = predict_labels(net, clips) == labels
    unseen = torch.tensor([draw_scene(index, 0, "test", how.frames).held_out for index in range(how.test)])
    accuracy, held_out = right.float().mean().item(), right[unseen].float().mean().item()
    return {
        "corpus": "synth-1",
        "metrics": {
            "accuracy": round(accuracy, 4),
            "accuracy.held_out": round(held_out, 4),
            **{f"accuracy.{verb}": round(right[labels == n].float().mean().item(), 4) for n, verb in enumerate(VERBS)},
        },
        "counts": {"train": how.train, "test": how.test, "test.held_out": int(unseen.sum())},
        "conditions": (
            f"3-D convolutional network on {how.frames // how.stride} frames of {how.pixels}x{how.pixels}, supervised, "
            f"{how.train} fresh clips x {how.epochs} epochs, tested on {how.test} test clips before compression"
        ),
        "protocol": asdict(how),
        "seconds": round(time.perf_counter() - started),
        "hardware": f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "command": "tubelet synth --ceiling docs/results/ceiling-synth-1.json",
    }


def render_clips(
    how: Reference, split: str, count: int, seed: int, workers: int
) -> tuple[UInt8[Tensor, "b t h w 3"], Int64[Tensor, "b"]]:
    work = partial(render_clip, how, split, seed)
    if workers > 1:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            clips = pool.map(work, range(count), chunksize=32)
    else:
        clips = list(map(work, range(count)))
    labels = [index % len(VERBS) for index in range(count)]
    return torch.from_numpy(np.stack(clips)), torch.tensor(labels)


def render_clip(how: Reference, split: str, seed: int, index: int) -> UInt8[np.ndarray, "t h w 3"]:
    rendered = render(index, seed, split, how.pixels, how.frames)
    if rendered.label != VERBS[index % len(VERBS)]:
        raise AssertionError("verbs take turns")
    return rendered.frames[:: how.stride]


def train_reference(
    how: Reference,
    clips: UInt8[Tensor, "b t h w 3"],
    labels: Int64[Tensor, "b"],
    progress: Progress,
) -> nn.Module:
    """AdamW, one cycle; clips are mirrored, played backwards and their colours exchanged, the label with them."""
    random = torch.Generator().manual_seed(how.seed)
    with torch.random.fork_rng():
        torch.manual_seed(how.seed)
        net = Network().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    total = how.epochs * (how.train // how.batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.learning_rate, total_steps=total, pct_start=0.15)
    backwards = torch.tensor([VERBS.index(REVERSED.get(verb, verb)) for verb in VERBS])
    step = 0
    for _ in range(how.epochs):
        for rows in torch.randperm(len(clips), generator=random).split(how.batch):
            if len(rows) < how.batch:
                continue
            video, label = clips[rows][..., torch.randperm(3, generator=random)], labels[rows]
            mirrored, reverse = torch.rand(2, generator=random) < 0.5
            if mirrored:
                video = video.flip(3)
            if reverse:
                video, label = video.flip(1), backwards[label]
            loss = F.cross_entropy(net(video), label, label_smoothing=how.smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            progress(step, total, f"loss {loss.item():.2f}")
    return net.eval()


@torch.no_grad()
def predict_labels(net: nn.Module, clips: UInt8[Tensor, "b t h w 3"]) -> Int64[Tensor, "b"]:
    return torch.cat([net(part).argmax(1) for part in clips.split(50)])


class Network(nn.Module):
    """Three convolutions over space and time, the largest and the mean response of each frame, two over time."""

    def __init__(self) -> None:
        super().__init__()
        self.space = nn.Sequential(
            *unit(nn.Conv3d(6, 32, (1, 5, 5), (1, 3, 3), (0, 2, 2), bias=False)),
            *unit(nn.Conv3d(32, 64, 3, (1, 2, 2), 1, bias=False)),
            *unit(nn.Conv3d(64, 64, 3, 1, 1, bias=False)),
        )
        self.time = nn.Sequential(
            *unit(nn.Conv1d(128, 128, 3, 1, 1, bias=False)),
            *unit(nn.Conv1d(128, 128, 3, 2, 1, bias=False)),
        )
        self.head = nn.Linear(256, len(VERBS))

    def forward(self, video: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b verbs"]:
        x = video.movedim(-1, 1).float() / 64 - 2
        change = F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 0, 1, 0))
        x = self.space(torch.cat((x, 3 * change), dim=1))  # b c t h w
        x = self.time(torch.cat((x.amax((3, 4)), x.mean((3, 4))), dim=1))  # b c t
        return self.head(torch.cat((x.amax(2), x.mean(2)), dim=1))


def unit(convolution: nn.Conv3d | nn.Conv1d) -> tuple[nn.Module, nn.Module, nn.Module]:
    norm = nn.BatchNorm3d if isinstance(convolution, nn.Conv3d) else nn.BatchNorm1d
    return convolution, norm(convolution.out_channels), nn.ReLU(inplace=True)


def write_ceiling(path: Path, result: Record) -> None:
    write_json(path, result, indent=2)
