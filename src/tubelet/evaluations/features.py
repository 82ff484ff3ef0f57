"""Features of a split, computed once: one centre clip a video, the encoder frozen, in fp32.

A clip that cannot be read is named and counted; nothing takes its place.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from einops import reduce
from jaxtyping import Float, Int64
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tubelet.data.loader import Data, eval_batches
from tubelet.data.table import Corpus, Video
from tubelet.errors import CorpusError
from tubelet.seeds import key
from tubelet.types import Clip

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
    """The features of every video of a split, from `folder` where these very ones are kept there."""
    videos = choose(corpus, split, limit, seed)
    kept = None
    if folder is not None:
        kept = folder / f"{split}-{fingerprint(encoder, corpus, clip, data, videos)}.safetensors"
        if kept.exists():
            return load(kept)
    features = compute(encoder, corpus, clip, data, videos, batch, progress)
    if kept is not None:
        save(features, kept)
    return features


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
    encoder: nn.Module,
    corpus: Corpus,
    clip: Clip,
    data: Data,
    videos: list[Video],
    batch: int,
    progress: Progress = quiet,
) -> Features:
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    groups = {video.id: video.group for video in videos}
    failed = [f"{video.id}: {video.reason or video.status}" for video in videos if video.status != "ok"]
    readable = [video for video in videos if video.status == "ok"]
    ids: list[str] = []
    short: list[str] = []
    means, slots = [], []
    training = encoder.training
    encoder.eval()
    try:
        with torch.inference_mode():
            for some in eval_batches(corpus, readable, clip, data, batch=batch, progress=progress):
                failed += some.failed
                progress(len(ids) + len(failed) + len(some), len(videos))
                if not len(some):
                    continue
                tokens = encoder.encode(some.video.to(device)).float()  # type: ignore[operator]  # b n d
                means.append(reduce(tokens, "b n d -> b d", "mean").cpu())
                slot = reduce(tokens, "b (slot place) d -> b slot d", "mean", slot=clip.grid[0])
                slots.append(slot.flatten(1).cpu())
                ids += some.ids
                if some.short is not None:
                    short += [i for i, is_short in zip(some.ids, some.short.tolist(), strict=True) if is_short]
    finally:
        encoder.train(training)
    if not ids:
        raise CorpusError(f"none of {len(videos)} videos of corpus {corpus.name} could be read; first: {failed[0]}")
    return Features(
        mean=torch.cat(means).clone(),
        slots=torch.cat(slots).clone(),
        label=torch.full((len(ids),), -1),
        ids=tuple(ids),
        groups=tuple(groups[i] for i in ids),
        failed=tuple(failed),
        short=tuple(short),
    )


def fingerprint(encoder: nn.Module, corpus: Corpus, clip: Clip, data: Data, videos: list[Video]) -> str:
    """A hash of everything that the features are a function of."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(
        repr((clip, data.sampling, data.cache, data.cache_size, corpus.fingerprint(), [v.id for v in videos])).encode()
    )
    digest.update(repr((type(encoder).__name__, getattr(encoder, "config", None))).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save(features: Features, path: Path) -> None:
    assert not features.classes, "labels are not kept: they are joined when they are asked for"
    names = {name: list(getattr(features, name)) for name in ("ids", "groups", "failed", "short")}
    path.parent.mkdir(parents=True, exist_ok=True)
    half_written = path.with_suffix(f".{os.getpid()}.part")
    save_file({"mean": features.mean, "slots": features.slots}, half_written, metadata={"names": json.dumps(names)})
    half_written.replace(path)


def load(path: Path) -> Features:
    with safe_open(path, framework="pt") as file:
        names: dict[str, Any] = json.loads(file.metadata()["names"])
        return Features(
            mean=file.get_tensor("mean"),
            slots=file.get_tensor("slots"),
            label=torch.full((len(names["ids"]),), -1),
            **{name: tuple(values) for name, values in names.items()},
        )
