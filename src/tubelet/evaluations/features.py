"""Features of a split, computed once: one centre clip a video, the encoder frozen, in fp32.

A clip that cannot be read is named and counted; nothing takes its place.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tubelet.data.loader import Data, eval_batches
from tubelet.data.table import Corpus, Video
from tubelet.errors import CorpusError
from tubelet.evaluations.cache import Row, Store, view_of
from tubelet.seeds import key
from tubelet.types import Batch, Clip

POOLS = ("mean", "slots")
Progress = Callable[[int, int], None]


def quiet(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Features:
    """One row a video that could be read; `failed` names the others, `short` those shorter than the clip's span."""

    mean: Float[Tensor, "v d"]  # the mean of all tokens
    slots: Float[Tensor, "v s"]  # the means of the temporal slots, side by side
    label: Int64[Tensor, "v"]  # index into classes, -1 where a video has none
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()  # "id: reason"
    short: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def pooled(self, pool: str) -> Float[Tensor, "v d"]:
        return {"mean": self.mean, "slots": self.slots}[pool]

    def rows(self, where: Tensor) -> "Features":
        """The videos at these places, or those where a mask is true."""
        index = torch.arange(len(self))[where]
        return replace(
            self,
            mean=self.mean[index],
            slots=self.slots[index],
            ids=tuple(self.ids[i] for i in index.tolist()),
            groups=tuple(self.groups[i] for i in index.tolist()),
            label=self.label[index],
        )

    def labelled(self, corpus: Corpus, labels: Mapping[str, str] | None = None) -> "Features":
        """With the labels of the table, or others by video id."""
        if labels is None:
            labels = {video.id: video.label for video in corpus.videos if video.label}
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
        for part in (self.mean, self.slots):
            digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def counts(self) -> dict[str, int]:
        """What a result says of its clips."""
        unlabelled = int((self.label < 0).sum())
        return {
            "used": len(self) - unlabelled,
            "failed": len(self.failed),
            "unlabelled": unlabelled,
            "short": len(self.short),
            "groups": len(set(self.groups)),
        }


def extract(
    encoder: nn.Module,
    corpus: Corpus,
    clip: Clip,
    data: Data,
    *,
    split: str,
    batch: int = 16,
    limit: int | None = None,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress = quiet,
) -> Features:
    """The features of every video of a split; those that `folder` keeps of just these clips are taken from there."""
    videos = choose(corpus, split, limit, seed)
    failed = [f"{video.id}: {video.reason or video.status}" for video in videos if video.status != "ok"]
    readable = [video for video in videos if video.status == "ok"]
    store = None if folder is None else Store(folder, view_of(encoder, clip, data))
    rows = {} if store is None else {video.id: row for video in readable if (row := store.find(video)) is not None}
    new = [video for video in readable if video.id not in rows]
    try:
        for some, made in compute(encoder, corpus, clip, data, new, batch, progress):
            failed += some.failed
            rows |= dict(made)
            if store is not None:
                known = {video.id: video for video in new}
                for name, row in made:
                    store.add(known[name], row)
    finally:
        if store is not None:
            store.flush()  # of an interrupted command, too
    return assemble(rows, videos, failed, corpus)


def choose(corpus: Corpus, split: str, limit: int | None, seed: int) -> list[Video]:
    """The videos of a split, those that indexing could not read among them; at most `limit`, by a keyed choice."""
    videos = [video for video in corpus.videos if split in ("all", video.split)]
    if not any(video.status == "ok" for video in videos):
        splits = ", ".join(sorted({video.split for video in corpus.videos if video.status == "ok"})) or "none"
        raise CorpusError(f"corpus {corpus.name} has no readable video in split {split!r} (it has: {splits})")
    if limit is not None and limit < len(videos):
        first = sorted(videos, key=lambda video: key(seed, "limit " + video.id))[:limit]
        videos = sorted(first, key=lambda video: video.row)
    return videos


def compute(
    encoder: nn.Module, corpus: Corpus, clip: Clip, data: Data, videos: list[Video], batch: int, progress: Progress
) -> Iterator[tuple[Batch, list[tuple[str, Row]]]]:
    """Batches, with the features of the videos that could be read, by id."""
    if not videos:
        return
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    done = 0
    training = encoder.training
    encoder.eval()
    try:
        for some in eval_batches(corpus, videos, clip, data, batch=batch, progress=progress):
            made: list[tuple[str, Row]] = []
            if len(some):
                with torch.inference_mode():
                    tokens = encoder.encode(some.video.to(device)).float()  # type: ignore[operator]  # b n d
                    mean = reduce(tokens, "b n d -> b d", "mean").cpu().numpy()
                    slots = reduce(tokens, "b (slot place) d -> b slot d", "mean", slot=clip.grid[0])
                    each = zip(mean, slots.flatten(1).cpu().numpy(), is_short(some), strict=True)
                    made = [(name, Row(*row)) for name, row in zip(some.ids, each, strict=True)]
            done += len(some) + len(some.failed)
            progress(done, len(videos))
            yield some, made
    finally:
        encoder.train(training)


def is_short(batch: Batch) -> list[bool]:
    return [False] * len(batch) if batch.short is None else batch.short.tolist()


def assemble(rows: Mapping[str, Row], videos: list[Video], failed: list[str], corpus: Corpus) -> Features:
    """The rows in the order of the table."""
    found = [video for video in videos if video.id in rows]
    if not found:
        raise CorpusError(f"none of {len(videos)} videos of corpus {corpus.name} could be read; first: {failed[0]}")
    return Features(
        mean=torch.from_numpy(np.stack([rows[video.id].mean for video in found])),
        slots=torch.from_numpy(np.stack([rows[video.id].slots for video in found])),
        label=torch.full((len(found),), -1),
        ids=tuple(video.id for video in found),
        groups=tuple(video.group for video in found),
        failed=tuple(failed),
        short=tuple(video.id for video in found if rows[video.id].short),
    )
