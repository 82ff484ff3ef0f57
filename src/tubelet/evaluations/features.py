"""Features of a split, computed once: one centre clip a video, the encoder frozen, in fp32.

A clip that cannot be read is named and counted; nothing takes its place. Start reading at `extract`.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from tubelet.corpus.schema import Video
from tubelet.corpus.table import Corpus
from tubelet.distributed import broadcast_from_rank0, is_rank0
from tubelet.errors import CorpusError
from tubelet.evaluations.cache import CachedRow, Store, view_of
from tubelet.evaluations.sharded import map_batches
from tubelet.evaluations.stream import MeasuredStream
from tubelet.loading.data import Data
from tubelet.loading.pairings import Reads
from tubelet.loading.subset import filter_videos
from tubelet.progress import Progress, silent
from tubelet.seeds import key
from tubelet.stores.tracks import Tracks
from tubelet.types import Batch, Clip, Words
from tubelet.video.content import state_or_none

POOLS = ("mean", "temporal_concat")
POOLED = "mean: of all tokens; temporal_concat: the means of each time step, concatenated"
LOOKS, LOOK = 4, 16  # frames of a clip that are kept small, and their side


@dataclass(frozen=True)
class Features:
    """One row a video that could be read; `failed` names the others, `short` those shorter than the clip's span."""

    mean: Float[Tensor, "v d"]  # the mean of all tokens
    temporal_concat: Float[Tensor, "v s"]  # the means of the time steps, concatenated
    label: Int64[Tensor, "v"]  # index into classes, -1 where a video has none
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()  # "id: reason"
    missing: tuple[str, ...] = ()  # ids of those among them whose file is not there
    short: tuple[str, ...] = ()
    looks: UInt8[Tensor, "v l y x 3"] | None = None  # a few frames of each clip, small: to find clips that look alike
    tokens: "Tokens | None" = None  # where an evaluation asks for them

    def __len__(self) -> int:
        return len(self.ids)

    def pooled(self, pool: str) -> Float[Tensor, "v d"]:
        return {"mean": self.mean, "temporal_concat": self.temporal_concat}[pool]

    def mean_of(self, video: str) -> Float[Tensor, "d"]:
        """The feature of one video; `CorpusError` where it could not be read."""
        if video not in self.ids:
            raise CorpusError(next((line for line in self.failed if line.startswith(f"{video}: ")), f"no {video} here"))
        return self.mean[self.ids.index(video)]

    def rows(self, where: Tensor) -> "Features":
        """The videos at these places, or those where a mask is true."""
        index = torch.arange(len(self))[where]
        return replace(
            self,
            mean=self.mean[index],
            temporal_concat=self.temporal_concat[index],
            ids=tuple(self.ids[i] for i in index.tolist()),
            groups=tuple(self.groups[i] for i in index.tolist()),
            label=self.label[index],
            looks=None if self.looks is None else self.looks[index],
            tokens=None if self.tokens is None else self.tokens.rows(index),
        )

    def labelled(self, corpus: Corpus, labels: Mapping[str, str] | None = None) -> "Features":
        """With the labels of the table, or others by video id."""
        if labels is None:
            labels = corpus.label_of
        classes = tuple(sorted(set(labels.values())))
        number = {name: i for i, name in enumerate(classes)}
        label = torch.tensor([number[labels[i]] if i in labels else -1 for i in self.ids], dtype=torch.int64)
        return replace(self, label=label, classes=classes)

    def with_label(self) -> "Features":
        """Only the videos that have a label."""
        return self.rows(self.label >= 0)

    def digest(self) -> str:
        """Of all that a measurement of these features can depend on, but for the labels."""
        digest = hashlib.blake2b(repr((self.ids, self.groups, self.failed, self.short)).encode(), digest_size=16)
        for part in (self.mean, self.temporal_concat):
            digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def counts(self) -> dict[str, int]:
        """What a result says of its clips."""
        unlabelled = int((self.label < 0).sum())
        return {
            "used": len(self) - unlabelled,
            "failed": len(self.failed),
            "missing": len(self.missing),
            "unlabelled": unlabelled,
            "short": len(self.short),
            "groups": len(set(self.groups)),
        }


def outline(videos: Sequence[Video], classes: Sequence[str]) -> Features:
    """Videos as what is selected and measured by: ids, groups, labels; no features."""
    number = {name: position for position, name in enumerate(classes)}
    nothing = torch.empty(len(videos), 0)
    return Features(
        mean=nothing,
        temporal_concat=nothing,
        label=torch.tensor([number.get(video.label or "", -1) for video in videos], dtype=torch.int64),
        ids=tuple(video.id for video in videos),
        groups=tuple(video.group for video in videos),
        classes=tuple(classes),
    )


def outline_of(corpus: Corpus, data: Data, split: str, labels: Mapping[str, str] | None) -> Features:
    """The outline of those videos of a split that indexing could read."""
    if labels is None:
        labels = corpus.label_of
    videos = [video for video in choose_videos(corpus, split, None, 0, data.where) if video.status == "ok"]
    return outline([replace(video, label=labels.get(video.id)) for video in videos], sorted(set(labels.values())))


@dataclass(frozen=True)
class Kind:
    """What is kept of every clip: its name, what decides it, and how it is made of the tokens."""

    name: str
    about: Mapping[str, Any]
    parts: Callable[[Float[Tensor, "b n d"], Batch], dict[str, np.ndarray]]


def encode(encoder: nn.Module, video: Shaped[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
    """Tokens of whole clips. What is evaluated is any module with a method `encode`, which PyTorch cannot type."""
    tokens: Tensor = encoder.encode(video)  # type: ignore[operator]
    return tokens


@dataclass(frozen=True)
class Extraction:
    """An encoder, and how it is shown the clips of a corpus: all that `Context` decides."""

    encoder: nn.Module
    corpus: Corpus
    clip: Clip
    data: Data
    batch: int = 16
    limit: int | None = None
    seed: int = 0
    folder: Path | None = None  # where rows are kept
    progress: Progress = silent
    stream: MeasuredStream | None = None  # in place of the clip

    @property
    def shown(self) -> Clip:
        """What the encoder is shown."""
        return self.clip if self.stream is None else self.stream.reads.clip

    @property
    def streams(self) -> dict[str, Reads]:
        return {} if self.stream is None else {self.stream.name: self.stream.reads}

    @property
    def view(self) -> dict[str, Any]:
        """All that the features of a video are a function of, beside the video."""
        found = view_of(self.encoder, self.clip, self.data)
        track = self.shown.track
        if isinstance(self.shown, Words):
            series = repr((self.corpus.fingerprint(), self.data.captions))
        else:
            series = Tracks.open(self.corpus, track).series.folder.name if track else ""
        if self.stream is not None:
            return found | {"stream": repr((self.shown, self.stream.reads.pairing)), "track": series}
        return found | ({"track": series} if track else {})


def extract(how: Extraction, split: str) -> Features:
    """The features of every video of a split; what the folder keeps of just these clips is taken from there."""
    kind = Kind("features", {}, lambda tokens, batch: summaries(tokens, batch, how.shown))
    videos, rows, failed = read_rows(how, split, kind)
    found = [video for video in videos if video.id in rows]

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([rows[video.id].parts[name] for video in found]))

    return Features(
        mean=stacked("mean"),
        temporal_concat=stacked("temporal_concat"),
        label=torch.full((len(found),), -1),
        ids=tuple(video.id for video in found),
        groups=tuple(video.group for video in found),
        failed=tuple(failed),
        missing=tuple(
            v.id for v in videos if v.id not in rows and (v.status == "missing" or state_or_none(v.path) is None)
        ),
        short=tuple(video.id for video in found if rows[video.id].short),
        looks=stacked("looks").unflatten(1, (LOOKS, LOOK, LOOK, 3)),
    )


def summaries(tokens: Float[Tensor, "b n d"], batch: Batch, clip: Clip) -> dict[str, np.ndarray]:
    """What `Features` holds of a batch, flat."""
    time_steps = reduce(tokens, "b (time_step place) d -> b time_step d", "mean", time_step=clip.grid[0])
    return {
        "mean": reduce(tokens, "b n d -> b d", "mean").cpu().numpy(),
        "temporal_concat": time_steps.flatten(1).cpu().numpy(),
        "looks": looks_of(batch.video).flatten(1).numpy(),
    }


def looks_of(video: Shaped[Tensor, "b c t h w"]) -> UInt8[Tensor, "b l y x 3"]:
    """A few frames of each clip, small; black where it is none of frames."""
    if video.dtype != torch.uint8:
        return torch.zeros(len(video), LOOKS, LOOK, LOOK, 3, dtype=torch.uint8)
    at = torch.linspace(0, video.shape[2] - 1, LOOKS).round().long()
    frames = rearrange(video[:, :, at].float(), "b c l h w -> (b l) c h w")
    small = interpolate(frames, size=(LOOK, LOOK), mode="bilinear", antialias=True, align_corners=False)
    return rearrange(small.round().clamp(0, 255).byte(), "(b l) c y x -> b l y x c", l=LOOKS)


@dataclass(frozen=True)
class Tokens:
    """Tokens of clips, in half precision, where they lie on disk."""

    values: tuple[np.ndarray, ...]  # float16 "n*d", one a clip
    width: int

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: Int64[Tensor, "k"]) -> "Tokens":
        return replace(self, values=tuple(self.values[i] for i in index.tolist()))

    def load(self, index: Int64[Tensor, "k"]) -> Float[Tensor, "k n d"]:
        flat = torch.from_numpy(np.stack([self.values[i] for i in index.tolist()])).float()
        return flat.unflatten(1, (-1, self.width))


def extract_tokens(how: Extraction, split: str, averaged: int | None) -> dict[str, CachedRow]:
    """By video: the tokens "n d" of its clip, flat; with `averaged`, to that many rows and columns a time step."""
    clip = how.shown
    side = clip.grid[1] if averaged is None else min(averaged, clip.grid[1])

    def parts(tokens: Float[Tensor, "b n d"], batch: Batch) -> dict[str, np.ndarray]:
        if side < clip.grid[1] and tokens.shape[1] == clip.num_tubelets:
            grid = rearrange(tokens, "b (t h w) d -> (b t) d h w", t=clip.grid[0], h=clip.grid[1])
            small = adaptive_avg_pool2d(grid, (side, min(side, clip.grid[2])))
            tokens = rearrange(small, "(b t) d h w -> b (t h w) d", t=clip.grid[0])
        return {"tokens": tokens.flatten(1).half().cpu().numpy()}

    _, rows, _ = read_rows(how, split, Kind("tokens", {"places": side}, parts))
    return rows


def read_rows(how: Extraction, split: str, kind: Kind) -> tuple[list[Video], dict[str, CachedRow], list[str]]:
    """The videos of the split, the rows of those that could be read, and why the others could not."""
    videos = choose_videos(how.corpus, split, how.limit, how.seed, how.data.where)
    failed = [f"{video.id}: {video.reason or video.status}" for video in videos if video.status != "ok"]
    readable = [video for video in videos if video.status == "ok"]
    if how.folder is None:
        rows: dict[str, CachedRow] = {}
        for missing, made in compute(how, readable, kind):
            failed += missing
            rows |= dict(made)
    else:
        where = how.folder, {**how.view, **kind.about}, kind.name
        store = Store(*where)
        rows = {video.id: row for video in readable if (row := store.find(video)) is not None}
        known = broadcast_from_rank0(lambda: frozenset(rows))  # the others may have looked a moment earlier or later
        new = {video.id: video for video in readable if video.id not in known}
        try:
            for missing, made in compute(how, list(new.values()), kind):
                failed += missing
                for name, row in made if is_rank0() else ():
                    store.add(new[name], row)
        finally:
            store.flush()  # of an interrupted command, too
        if new:
            broadcast_from_rank0(lambda: None)  # the first rank has written
            store = Store(*where)
            rows |= {video.id: row for video in new.values() if (row := store.find(video)) is not None}
    if not rows:
        raise CorpusError(f"none of {len(videos)} videos of corpus {how.corpus.name} could be read; first: {failed[0]}")
    return videos, rows, failed


def choose_videos(corpus: Corpus, split: str, limit: int | None, seed: int, where: str | None = None) -> list[Video]:
    """The videos of a split, those that indexing could not read among them; at most `limit`, by a keyed choice."""
    videos = corpus.kept(split)
    if not any(video.status == "ok" for video in videos):
        splits = ", ".join(sorted({video.split for video in corpus.videos if video.status == "ok"})) or "none"
        raise CorpusError(f"corpus {corpus.name} has no readable video in split {split!r} (it has: {splits})")
    videos = list(filter_videos(corpus, videos, where))
    if limit is not None and limit < len(videos):
        first = sorted(videos, key=lambda video: key(seed, "limit " + video.id))[:limit]
        videos = sorted(first, key=lambda video: video.row)
    return videos


def compute(
    how: Extraction, videos: list[Video], kind: Kind
) -> Iterator[tuple[tuple[str, ...], list[tuple[str, CachedRow]]]]:
    """Of each batch: why videos could not be read, and what is kept of the others, by id."""
    encoder, progress = how.encoder, how.progress
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    done, training = 0, encoder.training

    def encoded(some: Batch) -> tuple[tuple[str, ...], list[tuple[str, CachedRow]]]:
        if not len(some):
            return some.failed, []
        shown = some.video if how.stream is None else how.stream.video(some)
        with torch.inference_mode():
            tokens = encode(encoder, shown.to(device)).float()
            parts = kind.parts(tokens, some)
        short = [False] * len(some) if some.short is None else some.short.tolist()
        return some.failed, [
            (name, CachedRow(short[position], {part: values[position] for part, values in parts.items()}))
            for position, name in enumerate(some.ids)
        ]

    encoder.eval()
    try:
        for failed, made in map_batches(
            kind.name,
            encoded,
            how.corpus,
            videos,
            how.clip,
            how.data,
            batch=how.batch,
            streams=how.streams,
            progress=progress,
        ):
            done += len(made) + len(failed)
            progress(done, len(videos), "")
            yield failed, made
    finally:
        encoder.train(training)
