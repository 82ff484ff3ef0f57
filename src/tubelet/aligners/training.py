"""Training an aligner: frames against captions, nothing but which belongs to which.

A frame's score for a caption is a smooth maximum over its patches, so the contrast must be won by some patch; in
all the other frames the patches of the same caption must lose. What is left for a caption to light up is the place it
names. Start reading at `train`, for the small aligner, then `teach`, which `tubelet.aligners.tuning` shares.
"""

import io
import math
import pickle
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import chz
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from tubelet import seeds
from tubelet.aligners.base import Aligner
from tubelet.aligners.examples import Examples, Progress, divide, membership, quiet
from tubelet.aligners.learned import Learned, Towers
from tubelet.aligners.lesson import Alignment, Lesson
from tubelet.aligners.matching import contrast, recall, score_table, smooth_max
from tubelet.aligners.words import Words
from tubelet.errors import WeightsError
from tubelet.files import write_atomically
from tubelet.loading.augment import names_a_side

SIDES = ("left", "right", "clockwise")


Row = dict[str, int | float]


@runtime_checkable
class Pupil(Protocol):
    """Two towers while they are trained."""

    @property
    def module(self) -> nn.Module:
        """Whose parameters are trained, where they need a gradient."""

    def patches(self, frames: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b p e"]: ...

    def texts(self, numbers: Int64[Tensor, "c"], rng: np.random.Generator) -> Float[Tensor, "c e"]:
        """Some of the texts of the examples."""

    def log_scale(self) -> Float[Tensor, "*one"]: ...

    def aligner(self) -> Aligner:
        """What it is by now."""


@dataclass(frozen=True)
class Curve:
    """How a training went: a row a step, and the step whose weights were kept where held-out pairs chose it."""

    rows: list[Row]
    best: int | None = None


def train(
    examples: Examples, settings: Alignment, progress: Progress = quiet, about: dict[str, Any] | None = None
) -> Learned:
    """An aligner of these examples: a function of them and of the settings."""
    aligner = learn(examples, settings, progress)[0]
    aligner.about = dict(about or {})
    return aligner


def learn(
    examples: Examples, settings: Alignment, progress: Progress = quiet, keep: "Keep | None" = None
) -> tuple[Learned, Curve]:
    """The same, with how it went. With `settings.patience`, some videos are held out, to say when it is enough."""
    own, held = divide(examples, settings)
    pupil = Small(own.texts, settings)
    curve = teach(pupil, own, settings, held, progress, keep)
    return pupil.aligner(), curve


class Small:
    """The small aligner while it is trained."""

    def __init__(self, texts: Sequence[str], settings: Alignment) -> None:
        self.settings, self.words = settings, Words.of(texts)
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

    def aligner(self) -> Learned:
        return Learned(self.settings.shape, self.words, self.module)


def teach(
    pupil: Pupil,
    examples: Examples,
    settings: Lesson,
    held: Examples | None = None,
    progress: Progress = quiet,
    keep: "Keep | None" = None,
) -> Curve:
    """Trains the towers in place; of the weights on the way the best for the held-out pairs stay, else the last."""
    belongs = membership(examples)
    may_flip = names_a_side(examples.texts, SIDES) is None
    optimizer = torch.optim.AdamW(
        [weight for weight in pupil.module.parameters() if weight.requires_grad],
        lr=settings.lr,
        betas=(0.9, 0.98),
        weight_decay=settings.weight_decay,
        fused=True,
    )
    on_the_way = OnTheWay()
    if keep is not None:
        on_the_way = keep.resume(pupil.module, optimizer) or on_the_way
    try:
        while on_the_way.step < settings.steps and not on_the_way.enough(settings):
            row = one_step(pupil, optimizer, examples, settings, on_the_way.step, belongs, may_flip)
            on_the_way.step += 1
            on_the_way.rows.append(row)
            if held is not None and (on_the_way.step % settings.every == 0 or on_the_way.step == settings.steps):
                row |= look(pupil, held, settings)
                on_the_way.judge(row, pupil.module)
            progress(on_the_way.step, settings.steps)
            if keep is not None:
                keep.now_and_then(on_the_way, pupil.module, optimizer)
    except KeyboardInterrupt:
        if keep is not None:
            keep.write(on_the_way, pupil.module, optimizer)
        raise
    if on_the_way.best_state is not None:
        pupil.module.load_state_dict(on_the_way.best_state)
    return Curve(on_the_way.rows, on_the_way.best)


def one_step(
    pupil: Pupil,
    optimizer: torch.optim.Optimizer,
    examples: Examples,
    settings: Lesson,
    step: int,
    belongs: Bool[Tensor, "videos texts"],
    may_flip: bool,
) -> Row:
    pupil.module.train()
    for group in optimizer.param_groups:
        group["lr"] = rate(step, settings)
    rng = seeds.generator(settings.seed, "align", step)
    videos, frames, texts = draw(examples, settings, step, rng, may_flip)
    chosen, column = torch.from_numpy(texts).unique(return_inverse=True)
    named = functional.normalize(pupil.texts(chosen, rng), dim=-1)
    patches = functional.normalize(pupil.patches(torch.from_numpy(frames)), dim=-1)
    scores = smooth_max(patches @ named.T, settings.sharpness)
    scale = pupil.log_scale().exp().clamp(max=100.0)
    mine = belongs[torch.from_numpy(videos)][:, chosen].to(scores.device)
    loss = contrast(scale * scores, column.to(scores.device), mine, settings.hardness)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return {"step": step + 1, "loss": float(loss.detach())}


@torch.no_grad()
def look(pupil: Pupil, held: Examples, settings: Lesson) -> Row:
    """The contrast and the retrieval of held-out pairs: the middle frame of every video, its first caption."""
    table = score_table(pupil.aligner(), held, settings.sharpness)
    first = torch.tensor([numbers[0] for numbers in held.captions])
    chosen, column = first.unique(return_inverse=True)
    belongs = membership(held)
    scale = pupil.log_scale().exp().clamp(max=100.0).cpu()
    loss = contrast(scale * table[:, chosen], column, belongs[:, chosen])
    found = recall(table, belongs)
    return {"held_out": float(loss), "text_to_frame": found.text_to_frame, "frame_to_text": found.frame_to_text}


@dataclass
class OnTheWay:
    """How far a training is."""

    step: int = 0
    rows: list[Row] = field(default_factory=list)
    best: int | None = None
    best_loss: float = math.inf
    best_state: dict[str, Tensor] | None = None
    waited: int = 0

    def judge(self, row: Row, module: nn.Module) -> None:
        if row["held_out"] < self.best_loss:
            self.best, self.best_loss, self.waited = self.step, row["held_out"], 0
            self.best_state = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
        else:
            self.waited += 1

    def enough(self, settings: Lesson) -> bool:
        return 0 < settings.patience <= self.waited


class Keep:
    """Where a training stands on disk while it lasts, so that the same command goes on after an interruption."""

    def __init__(self, path: Path, mark: str, seconds: float = 300.0) -> None:
        """`mark` names all that decides the training: of another one nothing is taken up."""
        self.path, self.mark, self.seconds = path, mark, seconds
        self.written = time.monotonic()

    def resume(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> OnTheWay | None:
        if not self.path.exists():
            return None
        try:
            content = self.path.read_bytes()
            if content[:4] != zlib.crc32(content[4:]).to_bytes(4, "big"):
                return None  # damaged: it begins anew
            kept = torch.load(io.BytesIO(content[4:]), weights_only=True, map_location="cpu")
            if kept["mark"] != self.mark:
                return None
            module.load_state_dict(kept["module"])
            optimizer.load_state_dict(kept["optimizer"])
            return OnTheWay(**kept["on_the_way"])
        except (RuntimeError, KeyError, EOFError, OSError, pickle.UnpicklingError):
            raise WeightsError(f"{self.path} cannot be read: delete it, and the training begins anew") from None

    def now_and_then(self, on_the_way: OnTheWay, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if time.monotonic() - self.written >= self.seconds:
            self.write(on_the_way, module, optimizer)

    def write(self, on_the_way: OnTheWay, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        state = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "on_the_way": vars(on_the_way)}
        content = io.BytesIO()
        torch.save({"mark": self.mark, **state}, content)
        written = content.getvalue()
        write_atomically(self.path, zlib.crc32(written).to_bytes(4, "big") + written)
        self.written = time.monotonic()

    def done(self) -> None:
        self.path.unlink(missing_ok=True)


def rate(step: int, settings: Lesson) -> float:
    """Warm-up over a twentieth, then a cosine to nothing."""
    warm = max(settings.steps // 20, 1)
    done = min(max(step - warm, 0) / max(settings.steps - warm, 1), 1.0)
    return settings.lr * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * done))


def draw(
    examples: Examples, settings: Lesson, step: int, rng: np.random.Generator, may_flip: bool
) -> tuple[Int64[np.ndarray, "b"], UInt8[np.ndarray, "b h w 3"], Int64[np.ndarray, "b"]]:
    """The videos of a step, one frame and one caption of each; every video once before any comes again."""
    count, side = len(examples.videos), settings.side
    videos = np.empty(settings.batch, np.int64)
    for slot in range(settings.batch):
        epoch, place = divmod(step * settings.batch + slot, count)
        videos[slot] = order(settings.seed, epoch, count)[place]
    frames = np.empty((settings.batch, side, side, 3), np.uint8)
    texts = np.empty(settings.batch, np.int64)
    for slot, video in enumerate(videos):
        places, numbers = examples.of_video[video], examples.captions[video]
        frame = examples.frames[places[rng.integers(len(places))]]
        top, left = (rng.integers(length - side + 1) for length in frame.shape[:2])
        square = frame[top : top + side, left : left + side]
        frames[slot] = square[:, ::-1] if may_flip and rng.random() < 0.5 else square
        texts[slot] = numbers[rng.integers(len(numbers))]
    return videos, frames, texts


ORDERS: dict[tuple[int, int, int], Int64[np.ndarray, "n"]] = {}


def order(seed: int, epoch: int, count: int) -> Int64[np.ndarray, "n"]:
    """The order of the videos in an epoch."""
    if (seed, epoch, count) not in ORDERS:
        if len(ORDERS) > 2:
            ORDERS.clear()
        ORDERS[seed, epoch, count] = seeds.generator(seed, "align order", epoch).permutation(count)
    return ORDERS[seed, epoch, count]


def seconds_to_steps(examples: Examples, settings: Alignment, seconds: float) -> int:
    """How many steps fit: from the pace of a few, whose result is thrown away."""
    trial = chz.replace(settings, steps=6, patience=0)
    stamps: list[float] = []
    train(examples, trial, lambda done, total: stamps.append(time.perf_counter()))
    pace = float(np.median(np.diff(stamps[1:])))
    return max(int(seconds / pace), 1)
