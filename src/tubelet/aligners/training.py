"""Training an aligner by contrast of frames and captions; the only supervision is which caption belongs to which video.

A frame's score for a caption is a smooth maximum over its patches, so some patch must score high; in all other frames
the patches of the same caption must score low. What is left for a caption to match is the region it names. Start
reading at `train`, for the small aligner, then `optimize`, which `tubelet.aligners.finetuning` shares.
"""

import io
import math
import pickle
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import chz
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from torch import Tensor, nn
from torch.nn import functional

from tubelet import seeds
from tubelet.aligners.base import Aligner
from tubelet.aligners.config import AlignerTraining, SmallAlignerTraining
from tubelet.aligners.examples import Examples, membership, split_validation
from tubelet.aligners.matching import info_nce, recall, score_table, smooth_max
from tubelet.aligners.small import SmallAligner, Towers
from tubelet.aligners.vocabulary import Vocabulary
from tubelet.errors import WeightsError
from tubelet.files import write_atomically
from tubelet.loading.augment import names_a_side
from tubelet.progress import Progress, silent

SIDES = ("left", "right", "clockwise")


Row = dict[str, int | float]


@runtime_checkable
class TrainableAligner(Protocol):
    """An aligner in training: its two towers, differentiable."""

    side: int  # rows and columns of the crops of the examples' frames that a step sees

    @property
    def module(self) -> nn.Module:
        """The parameters that require a gradient are trained."""

    def patches(self, frames: Shaped[Tensor, "b h w c"]) -> Float[Tensor, "b p e"]: ...

    def texts(self, numbers: Int64[Tensor, "c"], rng: np.random.Generator) -> Float[Tensor, "c e"]:
        """Some of the texts of the examples."""

    def log_scale(self) -> Float[Tensor, "*one"]: ...

    def aligner(self) -> Aligner:
        """The aligner with the current weights."""


@dataclass(frozen=True)
class Curve:
    """The training curve: a row per step; with early stopping, the step with the lowest validation loss."""

    rows: list[Row]
    best: int | None = None


def train_small_aligner(
    examples: Examples,
    settings: SmallAlignerTraining,
    progress: Progress = silent,
    checkpoint: "TrainingCheckpoint | None" = None,
) -> tuple[SmallAligner, Curve]:
    """The small aligner of these examples, a function of them and of the settings, and how its training went.

    With `settings.patience`, part of the videos is held out for early stopping.
    """
    own, held = split_validation(examples, settings)
    model = TrainableSmallAligner(own.texts, settings)
    curve = optimize(model, own, settings, held, progress, checkpoint)
    return model.aligner(), curve


class TrainableSmallAligner:
    """The small aligner in training."""

    def __init__(self, texts: Sequence[str], settings: SmallAlignerTraining) -> None:
        self.settings, self.words, self.side = settings, Vocabulary.of(texts), settings.side
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.key(settings.seed, "align weights"))
            self.module = Towers(settings.shape, self.words.size)
        self.parts, self.there = self.words.encode(texts)

    def patches(self, frames: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b p e"]:
        return self.module.image(frames).flatten(1, 2)

    def texts(self, numbers: Int64[Tensor, "c"], rng: np.random.Generator) -> Float[Tensor, "c e"]:
        heard = self.parts[numbers].clone()
        dropped = torch.from_numpy(rng.random(tuple(heard.shape[:2])) < self.settings.word_dropout)
        heard[..., 0][dropped] = 0
        return self.module.text(heard, self.there[numbers])

    def log_scale(self) -> Float[Tensor, ""]:
        return self.module.log_scale

    def aligner(self) -> SmallAligner:
        return SmallAligner(self.settings.shape, self.words, self.module)


def optimize(
    model: TrainableAligner,
    examples: Examples,
    settings: AlignerTraining,
    held: Examples | None = None,
    progress: Progress = silent,
    checkpoint: "TrainingCheckpoint | None" = None,
) -> Curve:
    """Trains the towers in place; of the weights on the way the best for the held-out pairs stay, else the last."""
    belongs = membership(examples)
    may_flip = names_a_side(examples.texts, SIDES) is None
    optimizer = torch.optim.AdamW(
        [weight for weight in model.module.parameters() if weight.requires_grad],
        lr=settings.lr,
        betas=(0.9, 0.98),
        weight_decay=settings.weight_decay,
        fused=True,
    )
    state = TrainingState()
    if checkpoint is not None:
        state = checkpoint.resume(model.module, optimizer) or state
    try:
        while state.step < settings.steps and not state.should_stop(settings):
            row = one_step(model, optimizer, examples, settings, state.step, belongs, may_flip)
            state.step += 1
            state.rows.append(row)
            if held is not None and (state.step % settings.eval_every == 0 or state.step == settings.steps):
                row |= validate(model, held, settings)
                state.update(row, model.module)
            progress(state.step, settings.steps, "")
            if checkpoint is not None:
                checkpoint.maybe_save(state, model.module, optimizer)
    except KeyboardInterrupt:
        if checkpoint is not None:
            checkpoint.write(state, model.module, optimizer)
        raise
    if state.best_state is not None:
        model.module.load_state_dict(state.best_state)
    return Curve(state.rows, state.best)


def one_step(
    model: TrainableAligner,
    optimizer: torch.optim.Optimizer,
    examples: Examples,
    settings: AlignerTraining,
    step: int,
    belongs: Bool[Tensor, "videos texts"],
    may_flip: bool,
) -> Row:
    model.module.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, settings)
    rng = seeds.generator(settings.seed, "align", step)
    videos, frames, texts = sample_batch(examples, settings, model.side, step, rng, may_flip)
    chosen, column = torch.from_numpy(texts).unique(return_inverse=True)
    named = functional.normalize(model.texts(chosen, rng), dim=-1)
    patches = functional.normalize(model.patches(torch.from_numpy(frames)), dim=-1)
    scores = smooth_max(patches @ named.T, settings.sharpness)
    scale = model.log_scale().exp().clamp(max=100.0)
    mine = belongs[torch.from_numpy(videos)][:, chosen].to(scores.device)
    loss = info_nce(scale * scores, column.to(scores.device), mine, settings.hardness)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return {"step": step + 1, "loss": float(loss.detach())}


@torch.no_grad()
def validate(model: TrainableAligner, held: Examples, settings: AlignerTraining) -> Row:
    """Loss and retrieval on the validation pairs: the middle frame of every video, its first caption."""
    table = score_table(model.aligner(), held, settings.sharpness)
    first = torch.tensor([numbers[0] for numbers in held.captions])
    chosen, column = first.unique(return_inverse=True)
    belongs = membership(held)
    scale = model.log_scale().exp().clamp(max=100.0).cpu()
    loss = info_nce(scale * table[:, chosen], column, belongs[:, chosen])
    found = recall(table, belongs)
    return {"held_out": float(loss), "text_to_frame": found.text_to_frame, "frame_to_text": found.frame_to_text}


@dataclass
class TrainingState:
    """The state of a training, without weights."""

    step: int = 0
    rows: list[Row] = field(default_factory=list)
    best: int | None = None
    best_loss: float = math.inf
    best_state: dict[str, Tensor] | None = None
    stale: int = 0

    def update(self, row: Row, module: nn.Module) -> None:
        if row["held_out"] < self.best_loss:
            self.best, self.best_loss, self.stale = self.step, row["held_out"], 0
            self.best_state = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
        else:
            self.stale += 1

    def should_stop(self, settings: AlignerTraining) -> bool:
        return 0 < settings.patience <= self.stale


class TrainingCheckpoint:
    """A checkpoint that exists while an aligner is trained, so that the same command resumes after an interruption."""

    def __init__(self, path: Path, fingerprint: str, seconds: float = 300.0) -> None:
        """`fingerprint` identifies the training: the checkpoint of any other is ignored."""
        self.path, self.fingerprint, self.seconds = path, fingerprint, seconds
        self.written = time.monotonic()

    def resume(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState | None:
        if not self.path.exists():
            return None
        try:
            content = self.path.read_bytes()
            if content[:4] != zlib.crc32(content[4:]).to_bytes(4, "big"):
                return None  # damaged: training starts over
            kept = torch.load(io.BytesIO(content[4:]), weights_only=True, map_location="cpu")
            if kept["fingerprint"] != self.fingerprint:
                return None
            module.load_state_dict(kept["module"])
            optimizer.load_state_dict(kept["optimizer"])
            return TrainingState(**kept["state"])
        except (RuntimeError, KeyError, EOFError, OSError, pickle.UnpicklingError):
            raise WeightsError(f"{self.path} cannot be read; delete it, and training starts over") from None

    def maybe_save(self, state: TrainingState, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if time.monotonic() - self.written >= self.seconds:
            self.write(state, module, optimizer)

    def write(self, state: TrainingState, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        weights = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
        content = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "state": vars(state), **weights}, content)
        written = content.getvalue()
        write_atomically(self.path, zlib.crc32(written).to_bytes(4, "big") + written)
        self.written = time.monotonic()

    def done(self) -> None:
        self.path.unlink(missing_ok=True)


def learning_rate(step: int, settings: AlignerTraining) -> float:
    """Linear warm-up over a twentieth of the steps, then cosine decay to zero."""
    warm = max(settings.steps // 20, 1)
    done = min(max(step - warm, 0) / max(settings.steps - warm, 1), 1.0)
    return settings.lr * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * done))


def sample_batch(
    examples: Examples, settings: AlignerTraining, side: int, step: int, rng: np.random.Generator, may_flip: bool
) -> tuple[Int64[np.ndarray, "b"], Shaped[np.ndarray, "b h w c"], Int64[np.ndarray, "b"]]:
    """The videos of a step with a crop of one frame and one caption each; every video is drawn once per epoch."""
    count = len(examples.videos)
    videos = np.empty(settings.batch, np.int64)
    for row in range(settings.batch):
        epoch, index = divmod(step * settings.batch + row, count)
        videos[row] = epoch_order(settings.seed, epoch, count)[index]
    first = examples.frames[0]
    frames = np.empty((settings.batch, side, side, first.shape[2]), first.dtype)
    texts = np.empty(settings.batch, np.int64)
    for row, video in enumerate(videos):
        indices, numbers = examples.of_video[video], examples.captions[video]
        frame = examples.frames[indices[rng.integers(len(indices))]]
        top, left = (rng.integers(length - side + 1) for length in frame.shape[:2])
        square = frame[top : top + side, left : left + side]
        frames[row] = square[:, ::-1] if may_flip and rng.random() < 0.5 else square
        texts[row] = numbers[rng.integers(len(numbers))]
    return videos, frames, texts


EPOCH_ORDERS: dict[tuple[int, int, int], Int64[np.ndarray, "n"]] = {}


def epoch_order(seed: int, epoch: int, count: int) -> Int64[np.ndarray, "n"]:
    """The permutation of the videos in an epoch."""
    if (seed, epoch, count) not in EPOCH_ORDERS:
        if len(EPOCH_ORDERS) > 2:
            EPOCH_ORDERS.clear()
        EPOCH_ORDERS[seed, epoch, count] = seeds.generator(seed, "align order", epoch).permutation(count)
    return EPOCH_ORDERS[seed, epoch, count]


def seconds_to_steps(examples: Examples, settings: SmallAlignerTraining, seconds: float) -> int:
    """How many steps fit into this time, from the speed of a few that are discarded."""
    trial = chz.replace(settings, steps=6, patience=0)
    stamps: list[float] = []
    train_small_aligner(examples, trial, lambda done, total, remark="": stamps.append(time.perf_counter()))
    pace = float(np.median(np.diff(stamps[1:])))
    return max(int(seconds / pace), 1)
