"""Training an aligner: frames against captions, nothing but which belongs to which.

A frame's score for a caption is a smooth maximum over its patches, so the contrast must be won by some patch; in
all the other frames the patches of the same caption must lose. What is left for a caption to light up is the place it
names. Start reading at `train`, for the small aligner, then `teach`, which `tubelet.align.tuning` shares.
"""

import math
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import chz
import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from tubelet import seeds
from tubelet.align.base import Aligner
from tubelet.align.learned import Learned, Shape, Towers, fit
from tubelet.align.words import Words
from tubelet.data.augment import names_a_side
from tubelet.data.processes import Failure, cores, run_each
from tubelet.data.table import Corpus, Video, normalise_text
from tubelet.data.video import Reader
from tubelet.errors import CorpusError, RecipeError, VideoError, WeightsError

LIMIT = 120.0  # seconds that the frames of one video may take
SIDES = ("left", "right", "clockwise")


@chz.chz
class Lesson:
    """What all aligners share that are trained on a corpus's own pairs."""

    sources: tuple[str, ...] = chz.field(default=(), doc="caption sources that are used (none given: all)")
    steps: int = chz.field(default=500, doc="optimiser steps, at most")
    batch: int = chz.field(default=64, doc="frames (and captions) of a step")
    frames: int = chz.field(default=4, doc="frames decoded of every video, evenly spread")
    most_frames: int = chz.field(default=8192, doc="frames held in memory; videos beyond that are left out by lot")
    lr: float = chz.field(default=1e-5, doc="peak learning rate of AdamW")
    weight_decay: float = chz.field(default=0.02, doc="of AdamW")
    sharpness: float = chz.field(default=8.0, doc="of the smooth maximum over patches: 0 is their mean")
    hardness: float = chz.field(default=0.0, doc="how much more a negative counts the likelier it is; 0: all alike")
    patience: int = chz.field(
        default=0, doc="looks at held-out pairs without a better one after which training stops (0: never)"
    )
    every: int = chz.field(default=20, doc="steps between two looks")
    held: float = chz.field(default=0.1, doc="share of the train videos, whole groups, that are held out for that")
    seed: int = chz.field(default=0, doc="seed of all draws")

    @property
    def side(self) -> int:
        """Pixels of a frame's short side."""
        raise NotImplementedError

    @chz.validate
    def _sizes(self) -> None:
        least = {"steps": 1, "batch": 2, "frames": 1, "most_frames": 2, "every": 1, "patience": 0, "hardness": 0}
        for name, at_least in least.items():
            if getattr(self, name) < at_least:
                raise RecipeError(f"--{name.replace('_', '-')} must be at least {at_least}, not {getattr(self, name)}")
        if self.lr <= 0:
            raise RecipeError(f"--lr must be positive, not {self.lr}")
        if not 0 < self.held < 1:
            raise RecipeError(f"--held must lie between 0 and 1, not {self.held}")


@chz.chz
class Alignment(Lesson):
    """How the small aligner is trained."""

    shape: Shape = chz.field(default_factory=Shape, doc="sizes of the towers")
    steps: int = chz.field(
        default=120,
        doc="optimiser steps; longer retrieves better and localises worse: patches beside a thing come to name it",
    )
    most_frames: int = chz.field(default=16384, doc="frames held in memory; videos beyond that are left out by lot")
    lr: float = chz.field(default=3e-3, doc="peak learning rate of AdamW")
    word_dropout: float = chz.field(default=0.1, doc="share of words read by their letters alone")

    @property
    def side(self) -> int:
        return self.shape.side


@dataclass(frozen=True)
class Examples:
    """Frames in memory with the captions of their videos."""

    frames: list[np.ndarray]  # uint8 "h w 3", each of its own size
    of_video: list[list[int]]  # places in `frames` of every video
    captions: list[list[int]]  # numbers of every video's texts
    texts: list[str]  # normalised
    videos: list[Video]
    failed: dict[str, str]


Progress = Callable[[int, int], None]
quiet: Progress = lambda done, total: None  # noqa: E731
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
            kept = torch.load(self.path, weights_only=True, map_location="cpu")
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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        state = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "on_the_way": vars(on_the_way)}
        torch.save({"mark": self.mark, **state}, partial)
        partial.replace(self.path)
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


def smooth_max(similarity: Float[Tensor, "b p c"], sharpness: float) -> Float[Tensor, "b c"]:
    """Between the mean (0) and the maximum (infinity) over patches."""
    if sharpness <= 0:
        return similarity.mean(1)
    count = similarity.shape[1]
    return (torch.logsumexp(sharpness * similarity, dim=1) - math.log(count)) / sharpness


def contrast(
    scores: Float[Tensor, "b c"], column: Int64[Tensor, "b"], belongs: Bool[Tensor, "b c"], hardness: float = 0.0
) -> Float[Tensor, ""]:
    """InfoNCE both ways. `column` says which of the distinct captions was drawn with each frame.

    `belongs` says which captions belong to its video: those are no negatives of it, nor it of them.
    """
    own = scores.gather(1, column[:, None])  # b 1
    others = scores.masked_fill(belongs, -torch.inf)
    of_captions = torch.logsumexp(torch.cat([own, harder(others, hardness)], 1), dim=1) - own[:, 0]
    of_frames = torch.logsumexp(torch.cat([own, harder(others.T[column], hardness)], 1), dim=1) - own[:, 0]
    return (of_captions.mean() + of_frames.mean()) / 2


def harder(others: Float[Tensor, "b c"], hardness: float) -> Float[Tensor, "b c"]:
    """Negatives weighted by exp(hardness * score), the weights of a row 1 in the mean and constants to the gradient.

    The weights of Robinson et al. (ICLR 2021, arXiv 2010.04592), without their correction for false negatives: captions
    that belong are known here. Where there is no negative, the score is minus infinity.
    """
    if not hardness:
        return others
    said = hardness * others.detach()
    count = others.isfinite().sum(1, keepdim=True).clamp(min=1)
    mean = torch.logsumexp(said, dim=1, keepdim=True) - count.log()
    return torch.where(others.isfinite(), others + said - mean, others)


def membership(examples: Examples) -> Bool[Tensor, "videos texts"]:
    """Which texts are captions of which videos."""
    table = torch.zeros(len(examples.videos), len(examples.texts), dtype=torch.bool)
    for row, numbers in enumerate(examples.captions):
        table[row, numbers] = True
    return table


# Examples from a corpus


def read_examples(corpus: Corpus, split: str, settings: Lesson, progress: Progress = quiet) -> Examples:
    """Frames of the captioned videos of a split, decoded once, at the aligner's size. Videos that fail are named."""
    captioned = with_texts(corpus, split, settings)
    most = max(settings.most_frames // settings.frames, 2)
    if len(captioned) > most:
        kept = seeds.generator(settings.seed, "align videos").permutation(len(captioned))[:most]
        captioned = [captioned[place] for place in sorted(kept)]
    jobs = [(video.path, video.start, video.end, settings.frames, settings.side) for video, _ in captioned]
    found: dict[int, UInt8[np.ndarray, "t h w 3"]] = {}
    failed: dict[str, str] = {}
    for done, (place, outcome) in enumerate(run_each(decode, jobs, cores(), LIMIT), 1):
        if isinstance(outcome, Failure):
            failed[captioned[place][0].id] = outcome.reason
        else:
            found[place] = outcome
        progress(done, len(jobs))
    numbers: dict[str, int] = {}
    frames: list[np.ndarray] = []
    of_video, captions, videos = [], [], []
    for place in sorted(found):
        video, texts_of = captioned[place]
        of_video.append(list(range(len(frames), len(frames) + len(found[place]))))
        frames.extend(found[place])
        captions.append([numbers.setdefault(text, len(numbers)) for text in texts_of])
        videos.append(video)
    return Examples(frames, of_video, captions, list(numbers), videos, failed)


def with_texts(corpus: Corpus, split: str, settings: Lesson) -> list[tuple[Video, list[str]]]:
    """The captioned videos of a split, each with its different texts."""
    found = []
    for video in corpus.select(split):
        texts = {
            normalise_text(caption.text)
            for caption in corpus.captions_of(video)
            if not settings.sources or caption.source in settings.sources
        }
        if texts := {text for text in texts if text}:
            found.append((video, sorted(texts)))
    return found


def decode(job: tuple[Path, float, float, int, int]) -> UInt8[np.ndarray, "t h w 3"]:
    """So many frames of a span, evenly spread, with the short side resized."""
    path, start, end, count, side = job
    with Reader(path, start, end) as reader:
        times = reader.times
        if not times.size:
            raise VideoError(f"no frame from {start:g} s to {end:g} s")
        wanted = spread(times, count)
        return np.concatenate([fit(reader.frames(wanted[at : at + 1]), side) for at in range(len(wanted))])


def spread(times: Float64[np.ndarray, "t"], count: int) -> Float64[np.ndarray, "c"]:
    """The middles of `count` equal parts; each frame once."""
    middles = ((np.arange(count) + 0.5) / count * len(times)).astype(int)
    return times[np.unique(middles)]


def divide(examples: Examples, settings: Lesson) -> tuple[Examples, Examples | None]:
    """The examples to train on and those held out to say when it is enough: whole groups, by lot."""
    if not settings.patience:
        return examples, None
    groups = sorted({video.group for video in examples.videos})
    lot = seeds.generator(settings.seed, "align held out").permutation(len(groups))
    out = {groups[place] for place in lot[: max(round(settings.held * len(groups)), 1)]}
    parts = [
        some_of(examples, [place for place, video in enumerate(examples.videos) if (video.group in out) == held])
        for held in (False, True)
    ]
    if any(len(part.videos) < 2 or len(part.texts) < 2 for part in parts):
        raise CorpusError(
            f"held-out pairs need at least 2 videos that differ in text beside 2 to train on, and {settings.held:g} of "
            f"{len(groups)} groups leaves too few: train without --patience, or hold out more with --held"
        )
    return parts[0], parts[1]


def some_of(examples: Examples, chosen: Sequence[int]) -> Examples:
    """These videos alone, with the texts that they have."""
    numbers: dict[int, int] = {}
    frames: list[np.ndarray] = []
    of_video, captions = [], []
    for place in chosen:
        of_video.append(list(range(len(frames), len(frames) + len(examples.of_video[place]))))
        frames += [examples.frames[frame] for frame in examples.of_video[place]]
        captions.append([numbers.setdefault(text, len(numbers)) for text in examples.captions[place]])
    videos = [examples.videos[place] for place in chosen]
    return Examples(frames, of_video, captions, [examples.texts[number] for number in numbers], videos, {})


def enough(examples: Examples, corpus: Corpus) -> None:
    """`CorpusError` where there is nothing to contrast."""
    if len(examples.videos) < 2 or len(examples.texts) < 2:
        reason = next(iter(examples.failed.values()), "")
        raise CorpusError(
            f"aligning {corpus.folder} needs at least 2 captioned train videos that differ in text, found "
            f"{len(examples.videos)}"
            + (f" (first failure: {reason})" if reason else "; give captions to `tubelet index`")
        )


@dataclass(frozen=True)
class Retrieval:
    """How often the right one comes first, text to frame and frame to text, among the videos of a split."""

    videos: int
    texts: int
    text_to_frame: float
    frame_to_text: float
    chance_text_to_frame: float
    chance_frame_to_text: float


def retrieval(aligner: Aligner, examples: Examples, settings: Lesson) -> Retrieval:
    """Recall at 1 with the middle frame of every video: a video counts as right for any text that it has."""
    return recall(score_table(aligner, examples, settings.sharpness), membership(examples))


def score_table(aligner: Aligner, examples: Examples, sharpness: float) -> Float[Tensor, "videos texts"]:
    """The middle frame of every video, scored for every text."""
    scores = []
    named = functional.normalize(aligner.texts(examples.texts), dim=-1)
    for places in examples.of_video:
        frame = examples.frames[places[len(places) // 2]]
        patches = functional.normalize(aligner.patches(frame[None]), dim=-1)
        scores.append(smooth_max(patches.flatten(1, 2) @ named.T, sharpness)[0])
    return torch.stack(scores)


def recall(table: Float[Tensor, "videos texts"], right: Bool[Tensor, "videos texts"]) -> Retrieval:
    videos, texts = table.shape
    return Retrieval(
        videos=videos,
        texts=texts,
        text_to_frame=float(right.T[torch.arange(texts), table.argmax(0)].float().mean()),
        frame_to_text=float(right[torch.arange(videos), table.argmax(1)].float().mean()),
        chance_text_to_frame=float(right.float().mean(0).mean()),
        chance_frame_to_text=float(right.float().mean(1).mean()),
    )


def seconds_to_steps(examples: Examples, settings: Alignment, seconds: float) -> int:
    """How many steps fit: from the pace of a few, whose result is thrown away."""
    trial = chz.replace(settings, steps=6, patience=0)
    stamps: list[float] = []
    train(examples, trial, lambda done, total: stamps.append(time.perf_counter()))
    pace = float(np.median(np.diff(stamps[1:])))
    return max(int(seconds / pace), 1)


def check_sources(corpus: Corpus, sources: Sequence[str]) -> None:
    if unknown := set(sources) - set(corpus.sources):
        there = ", ".join(corpus.sources) or "none"
        raise CorpusError(f"{corpus.folder} has no captions of source {sorted(unknown)[0]!r}; it has: {there}")
