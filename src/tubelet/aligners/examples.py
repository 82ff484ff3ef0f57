"""Frames of a corpus in memory with the captions of their videos: what an aligner is trained and measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64, UInt8
from torch import Tensor

from tubelet import seeds
from tubelet.aligners.config import AlignerTraining
from tubelet.aligners.small import fit
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus, normalise_text
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.pool import Failure, cores, run_each
from tubelet.progress import Progress, silent
from tubelet.video.limits import Limits, limits
from tubelet.video.reader import open_reader

LIMIT = 120.0  # seconds that the frames of one video may take


@dataclass(frozen=True)
class Examples:
    """Frames in memory with the captions of their videos."""

    frames: list[np.ndarray]  # uint8 "h w 3", each of its own size; or the features of a frozen tower, "gh gw c"
    of_video: list[list[int]]  # places in `frames` of every video
    captions: list[list[int]]  # numbers of every video's texts
    texts: list[str]  # normalised
    videos: list[Video]
    failed: dict[str, str]


def read_examples(corpus: Corpus, split: str, settings: AlignerTraining, progress: Progress = silent) -> Examples:
    """Frames of the captioned videos of a split, decoded once, at the aligner's size. Videos that fail are named."""
    captioned = with_texts(corpus, split, settings)
    most = max(settings.max_frames // settings.frames, 2)
    if len(captioned) > most:
        kept = seeds.generator(settings.seed, "align videos").permutation(len(captioned))[:most]
        captioned = [captioned[index] for index in sorted(kept)]
    jobs = [
        (video.path, video.start, video.end, video.reading, settings.frames, settings.side) for video, _ in captioned
    ]
    found: dict[int, UInt8[np.ndarray, "t h w 3"]] = {}
    failed: dict[str, str] = {}
    chosen = limits(Limits(seconds=LIMIT))
    reading = run_each(decode, jobs, chosen.workers or cores(), chosen.seconds, chosen.memory)
    for done, (index, outcome) in enumerate(reading, 1):
        if isinstance(outcome, Failure):
            failed[captioned[index][0].id] = outcome.reason
        else:
            found[index] = outcome
        progress(done, len(jobs), "")
    numbers: dict[str, int] = {}
    frames: list[np.ndarray] = []
    of_video, captions, videos = [], [], []
    for index in sorted(found):
        video, texts_of = captioned[index]
        of_video.append(list(range(len(frames), len(frames) + len(found[index]))))
        frames.extend(found[index])
        captions.append([numbers.setdefault(text, len(numbers)) for text in texts_of])
        videos.append(video)
    return Examples(frames, of_video, captions, list(numbers), videos, failed)


def with_texts(corpus: Corpus, split: str, settings: AlignerTraining) -> list[tuple[Video, list[str]]]:
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


def decode(job: tuple[Path, float, float, str | None, int, int]) -> UInt8[np.ndarray, "t h w 3"]:
    """So many frames of a span, evenly spaced, with the short side resized."""
    path, start, end, reading, count, side = job
    with open_reader(path, start, end, reading=reading) as reader:
        times = reader.times
        if not times.size:
            raise VideoError(f"no frame from {start:g} s to {end:g} s")
        wanted = evenly_spaced(times, count)
        return np.concatenate([fit(reader.frames(wanted[at : at + 1]), side) for at in range(len(wanted))])


def evenly_spaced(times: Float64[np.ndarray, "t"], count: int) -> Float64[np.ndarray, "c"]:
    """The middles of `count` equal parts; each frame once."""
    middles = ((np.arange(count) + 0.5) / count * len(times)).astype(int)
    return times[np.unique(middles)]


def split_validation(examples: Examples, settings: AlignerTraining) -> tuple[Examples, Examples | None]:
    """The examples to train on and those held out for early stopping: whole groups, drawn at random."""
    if not settings.patience:
        return examples, None
    groups = sorted({video.group for video in examples.videos})
    lot = seeds.generator(settings.seed, "align held out").permutation(len(groups))
    out = {groups[index] for index in lot[: max(round(settings.val_fraction * len(groups)), 1)]}
    parts = [
        subset(examples, [index for index, video in enumerate(examples.videos) if (video.group in out) == held])
        for held in (False, True)
    ]
    if any(len(part.videos) < 2 or len(part.texts) < 2 for part in parts):
        raise CorpusError(
            "early stopping needs at least 2 videos with different captions to train on and 2 to validate on, and "
            f"{settings.val_fraction:g} of {len(groups)} groups leaves too few: "
            "train without patience, or hold out more with val_fraction"
        )
    return parts[0], parts[1]


def subset(examples: Examples, chosen: Sequence[int]) -> Examples:
    """These videos only, with the texts they have."""
    numbers: dict[int, int] = {}
    frames: list[np.ndarray] = []
    of_video, captions = [], []
    for index in chosen:
        of_video.append(list(range(len(frames), len(frames) + len(examples.of_video[index]))))
        frames += [examples.frames[frame] for frame in examples.of_video[index]]
        captions.append([numbers.setdefault(text, len(numbers)) for text in examples.captions[index]])
    videos = [examples.videos[index] for index in chosen]
    return Examples(frames, of_video, captions, [examples.texts[number] for number in numbers], videos, {})


def check_enough(examples: Examples, corpus: Corpus) -> None:
    """`CorpusError` where there is nothing to contrast."""
    if len(examples.videos) < 2 or len(examples.texts) < 2:
        reason = next(iter(examples.failed.values()), "")
        raise CorpusError(
            f"aligning {corpus.folder} needs at least 2 captioned train videos that differ in text, found "
            f"{len(examples.videos)}"
            + (f" (first failure: {reason})" if reason else "; give captions to `tubelet index`")
        )


def membership(examples: Examples) -> Bool[Tensor, "videos texts"]:
    """Which texts are captions of which videos."""
    table = torch.zeros(len(examples.videos), len(examples.texts), dtype=torch.bool)
    for row, numbers in enumerate(examples.captions):
        table[row, numbers] = True
    return table
