"""What train and test share though they should not: files, groups, and frames that look alike.

Frames are compared small: `LOOKS` of every clip at 16x16, first by the correlation of their grey values at 8x8, then,
among the nearest, by the mean difference of all their colours. Frames without any structure (a black one) say nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import rearrange, reduce
from jaxtyping import Float, UInt8
from torch import Tensor

from tubelet.corpus.content import content_of, size_of
from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.evaluations.features import LOOKS, Features, looks_of
from tubelet.evaluations.sharded import map_batches
from tubelet.loading.data import Data
from tubelet.types import Batch, Clip
from tubelet.wording import plural

CORRELATION = 0.97  # of grey values at 8x8, at least
DIFFERENCE = 4.0  # of colours at 16x16, of 255, at most
FLAT = 2.0  # deviation of the grey values below which a frame shows nothing
NEAREST = 3  # candidates of every frame that are compared in full
CHUNK = 1024


@dataclass(frozen=True)
class SharedClips:
    """Pairs (test, train) of video ids; groups by name."""

    files: list[tuple[str, str]]
    groups: list[str]
    frames: list[tuple[str, str, float]]  # and the mean difference of their colours, of 255

    @classmethod
    def between(cls, corpus: Corpus, train: Features, test: Features) -> "SharedClips":
        videos = corpus.by_id
        return cls(
            same_files([videos[name] for name in train.ids], [videos[name] for name in test.ids]),
            sorted(set(train.groups) & set(test.groups)),
            near_duplicates(train, test),
        )

    @classmethod
    def of_folds(cls, folds: Sequence["SharedClips"]) -> "SharedClips":
        """Of a cross-validation: what each fold's test shares with its train."""
        files = [pair for one in folds for pair in one.files]
        groups = sorted({group for one in folds for group in one.groups})
        return cls(files, groups, [pair for one in folds for pair in one.frames])

    def as_json(self) -> dict[str, Any]:
        return {
            "same_file": [list(pair) for pair in self.files],
            "same_group": self.groups,
            "near_duplicate": [list(pair) for pair in self.frames],
            "rule": f"{LOOKS} frames of every clip; correlation of grey values at 8x8 at least {CORRELATION}, "
            f"mean difference of colours at 16x16 at most {DIFFERENCE:g} of 255",
        }

    def warnings(self, used: int) -> list[str]:
        """What a reader must know with the number."""
        found = []
        if self.files:
            test, train = self.files[0]
            found.append(f"{len(self.files)} of {used} test clips are of a file of train too ({test} = {train})")
        if self.groups:
            found.append(f"{plural(len(self.groups), 'group')} in train and in test at once (first: {self.groups[0]})")
        if self.frames:
            test, train, _ = self.frames[0]
            found.append(f"{len(self.frames)} of {used} test clips look like a train clip ({test} ~ {train})")
        return found


def with_thumbnails(corpus: Corpus, videos: Features, clip: Clip, data: Data, batch: int) -> Features:
    """Those of the videos that can be read, with the few small frames of their centre clip."""
    known = {video.id: replace(video, label=None) for video in corpus.videos}
    ids: list[str] = []
    looks: list[Tensor] = []
    chosen = [known[name] for name in videos.ids]

    def look(some: Batch) -> tuple[tuple[str, ...], Tensor | None]:
        return some.ids, looks_of(some.video) if len(some) else None

    for names, small in map_batches("small frames", look, corpus, chosen, clip, data, batch=batch):
        ids += names
        looks += [] if small is None else [small]
    index = {name: number for number, name in enumerate(videos.ids)}
    found = videos.rows(torch.tensor([index[name] for name in ids], dtype=torch.int64))
    return replace(found, looks=torch.cat(looks) if looks else None)


def same_files(train: Sequence[Video], test: Sequence[Video]) -> list[tuple[str, str]]:
    """Test videos whose file, byte for byte, is in train too. Only files of equal size are read."""
    sizes: dict[int, dict[str, Video]] = {}
    for video in train:
        sizes.setdefault(size_of(video), {}).setdefault(str(video.path), video)
    found = []
    for video in test:
        alike = sizes.get(size_of(video), {})
        other = alike.get(str(video.path)) or next(
            (one for one in alike.values() if content_of(one) == content_of(video)), None
        )
        if other is not None:
            found.append((video.id, other.id))
    return found


def near_duplicates(train: Features, test: Features) -> list[tuple[str, str, float]]:
    """Of every test clip that looks like a train clip the one it looks most like."""
    if train.looks is None or test.looks is None:
        return []
    return [
        (test.ids[clip], train.ids[other], difference)
        for clip, other, difference in lookalike_pairs(train.looks, test.looks)
    ]


def lookalike_pairs(
    train: UInt8[Tensor, "v l y x 3"], test: UInt8[Tensor, "u l y x 3"]
) -> list[tuple[int, int, float]]:
    """The same by place: (place in test, place in train, difference)."""
    known, asked = coarse(train), coarse(test)
    fine_known, fine_asked = (rearrange(some, "v l y x c -> (v l) (y x c)") for some in (train, test))
    per_clip = train.shape[1]
    best: dict[int, tuple[float, int]] = {}
    for first in range(0, len(asked), CHUNK):
        similarity = asked[first : first + CHUNK] @ known.T
        values, indices = similarity.topk(min(NEAREST, similarity.shape[1]), dim=1)
        for row, column in (values >= CORRELATION).nonzero().tolist():
            frame, other = first + row, int(indices[row, column])
            difference = float((fine_asked[frame].float() - fine_known[other].float()).abs().mean())
            clip = frame // per_clip
            if difference <= min(DIFFERENCE, best.get(clip, (DIFFERENCE, 0))[0]):
                best[clip] = (difference, other // per_clip)
    return [(clip, other, difference) for clip, (difference, other) in sorted(best.items())]


def coarse(looks: UInt8[Tensor, "v l y x 3"]) -> Float[Tensor, "frames p"]:
    """Grey values at 8x8 less their mean, of length 1; of length 0 where a frame is flat."""
    grey = reduce(looks.float(), "v l (y two) (x too) c -> (v l) (y x)", "mean", two=2, too=2)
    grey = grey - grey.mean(1, keepdim=True)
    length = grey.norm(dim=1, keepdim=True)
    return torch.where(length < FLAT * grey.shape[1] ** 0.5, 0.0, grey / length.clamp(min=1e-9))
