"""Training the small aligner: frames against captions, nothing but which belongs to which.

A frame's score for a caption is a smooth maximum over its patches, so the contrast must be won by some patch; in
all the other frames the patches of the same caption must lose. What is left for a caption to light up is the place it
names. Start reading at `train`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chz
import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from tubelet import seeds
from tubelet.align.learned import Learned, Shape, Towers, fit
from tubelet.align.words import Words
from tubelet.data.augment import names_a_side
from tubelet.data.processes import Failure, cores, run_each
from tubelet.data.table import Corpus, Video, normalise_text
from tubelet.data.video import Reader
from tubelet.errors import CorpusError, RecipeError, VideoError

LIMIT = 120.0  # seconds that the frames of one video may take
SIDES = ("left", "right", "clockwise")


@chz.chz
class Alignment:
    """How an aligner is trained."""

    shape: Shape = chz.field(default_factory=Shape, doc="sizes of the towers")
    sources: tuple[str, ...] = chz.field(default=(), doc="caption sources that are used (none given: all)")
    steps: int = chz.field(
        default=120,
        doc="optimiser steps; longer retrieves better and localises worse: patches beside a thing come to name it",
    )
    batch: int = chz.field(default=64, doc="frames (and captions) of a step")
    frames: int = chz.field(default=4, doc="frames decoded of every video, evenly spread")
    most_frames: int = chz.field(default=16384, doc="frames held in memory; videos beyond that are left out by lot")
    lr: float = chz.field(default=3e-3, doc="peak learning rate of AdamW")
    weight_decay: float = chz.field(default=0.02, doc="of AdamW")
    sharpness: float = chz.field(default=8.0, doc="of the smooth maximum over patches: 0 is their mean")
    word_dropout: float = chz.field(default=0.1, doc="share of words read by their letters alone")
    seed: int = chz.field(default=0, doc="seed of all draws")

    @chz.validate
    def _sizes(self) -> None:
        for name, least in (("steps", 1), ("batch", 2), ("frames", 1), ("most_frames", 2)):
            if getattr(self, name) < least:
                raise RecipeError(f"--{name.replace('_', '-')} must be at least {least}, not {getattr(self, name)}")


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


def train(
    examples: Examples, settings: Alignment, progress: Progress = quiet, about: dict[str, Any] | None = None
) -> Learned:
    """An aligner of these examples: a function of them and of the settings."""
    words = Words.of(examples.texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.key(settings.seed, "align weights"))
        towers = Towers(settings.shape, words.size).train()
    parts, there = words.encode(examples.texts)
    belongs = membership(examples)
    may_flip = names_a_side(examples.texts, SIDES) is None
    optimizer = torch.optim.AdamW(
        towers.parameters(), lr=settings.lr, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
    )
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, settings)
        rng = seeds.generator(settings.seed, "align", step)
        videos, frames, texts = draw(examples, settings, step, rng, may_flip)
        chosen, column = torch.from_numpy(texts).unique(return_inverse=True)
        heard = parts[chosen].clone()
        dropped = torch.from_numpy(rng.random(tuple(heard.shape[:2])) < settings.word_dropout)
        heard[..., 0][dropped] = 0
        patches = functional.normalize(towers.image(torch.from_numpy(frames)), dim=-1)
        named = functional.normalize(towers.text(heard, there[chosen]), dim=-1)
        scores = smooth_max(patches.flatten(1, 2) @ named.T, settings.sharpness)
        scale = towers.log_scale.exp().clamp(max=100.0)
        loss = contrast(scale * scores, column, belongs[torch.from_numpy(videos)][:, chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress(step + 1, settings.steps)
    return Learned(settings.shape, words, towers, about)


def rate(step: int, settings: Alignment) -> float:
    """Warm-up over a twentieth, then a cosine to nothing."""
    warm = max(settings.steps // 20, 1)
    done = min(max(step - warm, 0) / max(settings.steps - warm, 1), 1.0)
    return settings.lr * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * done))


def draw(
    examples: Examples, settings: Alignment, step: int, rng: np.random.Generator, may_flip: bool
) -> tuple[Int64[np.ndarray, "b"], UInt8[np.ndarray, "b h w 3"], Int64[np.ndarray, "b"]]:
    """The videos of a step, one frame and one caption of each; every video once before any comes again."""
    count, side = len(examples.videos), settings.shape.side
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
    scores: Float[Tensor, "b c"], column: Int64[Tensor, "b"], belongs: Bool[Tensor, "b c"]
) -> Float[Tensor, ""]:
    """InfoNCE both ways. `column` says which of the distinct captions was drawn with each frame.

    `belongs` says which captions belong to its video: those are no negatives of it, nor it of them.
    """
    own = scores.gather(1, column[:, None])  # b 1
    others = scores.masked_fill(belongs, -torch.inf)
    of_captions = torch.logsumexp(torch.cat([own, others], 1), dim=1) - own[:, 0]
    of_frames = torch.logsumexp(torch.cat([own, others.T[column]], 1), dim=1) - own[:, 0]
    return (of_captions.mean() + of_frames.mean()) / 2


def membership(examples: Examples) -> Bool[Tensor, "videos texts"]:
    """Which texts are captions of which videos."""
    table = torch.zeros(len(examples.videos), len(examples.texts), dtype=torch.bool)
    for row, numbers in enumerate(examples.captions):
        table[row, numbers] = True
    return table


# Examples from a corpus


def read_examples(corpus: Corpus, split: str, settings: Alignment, progress: Progress = quiet) -> Examples:
    """Frames of the captioned videos of a split, decoded once, at the aligner's size. Videos that fail are named."""
    captioned: list[tuple[Video, list[str]]] = []
    for video in corpus.select(split):
        texts = {
            normalise_text(caption.text)
            for caption in corpus.captions_of(video)
            if not settings.sources or caption.source in settings.sources
        }
        if texts := {text for text in texts if text}:
            captioned.append((video, sorted(texts)))
    most = max(settings.most_frames // settings.frames, 2)
    if len(captioned) > most:
        kept = seeds.generator(settings.seed, "align videos").permutation(len(captioned))[:most]
        captioned = [captioned[place] for place in sorted(kept)]
    jobs = [(video.path, video.start, video.end, settings.frames, settings.shape.side) for video, _ in captioned]
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


def retrieval(aligner: Learned, examples: Examples, settings: Alignment) -> Retrieval:
    """Recall at 1 with the middle frame of every video: a video counts as right for any text that it has."""
    scores = []
    named = functional.normalize(aligner.texts(examples.texts), dim=-1)
    for places in examples.of_video:
        frame = examples.frames[places[len(places) // 2]]
        patches = functional.normalize(aligner.patches(frame[None]), dim=-1)
        scores.append(smooth_max(patches.flatten(1, 2) @ named.T, settings.sharpness)[0])
    table, right = torch.stack(scores), membership(examples)  # videos texts
    return Retrieval(
        videos=len(examples.videos),
        texts=len(examples.texts),
        text_to_frame=float(right.T[torch.arange(len(examples.texts)), table.argmax(0)].float().mean()),
        frame_to_text=float(right[torch.arange(len(examples.videos)), table.argmax(1)].float().mean()),
        chance_text_to_frame=float(right.float().mean(0).mean()),
        chance_frame_to_text=float(right.float().mean(1).mean()),
    )


def seconds_to_steps(examples: Examples, settings: Alignment, seconds: float) -> int:
    """How many steps fit: from the pace of a few, whose result is thrown away."""
    trial = chz.replace(settings, steps=6)
    stamps: list[float] = []
    train(examples, trial, lambda done, total: stamps.append(time.perf_counter()))
    pace = float(np.median(np.diff(stamps[1:])))
    return max(int(seconds / pace), 1)


def check_sources(corpus: Corpus, sources: Sequence[str]) -> None:
    if unknown := set(sources) - set(corpus.sources):
        there = ", ".join(corpus.sources) or "none"
        raise CorpusError(f"{corpus.folder} has no captions of source {sorted(unknown)[0]!r}; it has: {there}")
