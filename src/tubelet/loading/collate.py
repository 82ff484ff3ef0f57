"""Samples and how they become a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from tubelet.stores.embeddings import Embeddings
from tubelet.stores.maps import Maps
from tubelet.types import Batch, Clip


@dataclass(frozen=True)
class Sample:
    """One clip and what travels with it."""

    video: UInt8[Tensor, "3 t size size"] | Float32[Tensor, "c t h w"]
    key: int
    id: str
    label: int
    caption: int
    text: Float32[np.ndarray, "e"] | None
    source: int
    maps: Mapping[str, Float32[np.ndarray, "n"] | Float32[np.ndarray, "n parts"] | Float32[np.ndarray, "t nh nw 2"]]
    short: bool
    view: int = 0
    streams: Mapping[str, "Sample"] = field(default_factory=dict)


def collate(
    samples: Sequence[Sample],
    failed: tuple[str, ...],
    clip: Clip,
    all_maps: Mapping[str, Maps],
    embeddings: Embeddings | None,
    captioned: bool,
    streams: Mapping[str, tuple[Clip, Mapping[str, Maps]]],  # of each its clips, and the maps that its mask needs
) -> Batch:
    """Stacks what the samples hold. A batch of which no clip could be read has length 0."""
    width = 0 if embeddings is None else embeddings.width
    shapes = {"scalar": (clip.num_tubelets,), "vector": (clip.frames, *clip.grid[1:], 2)}
    shapes_of = {
        name: (clip.num_tubelets, maps.channels) if maps.kind == "parts" else shapes[maps.kind]
        for name, maps in all_maps.items()
    }
    return Batch(
        video=torch.stack([sample.video for sample in samples])
        if samples
        else torch.empty(0, clip.channels, *clip.whole, dtype=torch.float32 if clip.track else torch.uint8),
        key=integers([sample.key for sample in samples]),
        ids=tuple(sample.id for sample in samples),
        label=integers([sample.label for sample in samples]),
        text=None if embeddings is None else floats([sample.text for sample in samples], (width,)),
        caption=integers([sample.caption for sample in samples]) if captioned else None,
        source=integers([sample.source for sample in samples]),
        maps={name: floats([sample.maps[name] for sample in samples], shape) for name, shape in shapes_of.items()},
        short=torch.tensor([sample.short for sample in samples], dtype=torch.bool),
        view=integers([sample.view for sample in samples]),
        streams={
            name: collate([sample.streams[name] for sample in samples], (), own, maps, None, captioned, {})
            for name, (own, maps) in streams.items()
        },
        failed=failed,
    )


def integers(values: Sequence[int]) -> Int64[Tensor, "b"]:
    return torch.tensor(values, dtype=torch.int64)


def floats(rows: Sequence[Any], shape: tuple[int, ...]) -> Float32[Tensor, "b *shape"]:
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, *shape)
