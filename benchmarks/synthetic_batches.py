"""A batch of random clips with everything that a recipe asks for: maps, embeddings of captions, streams."""

import math
from dataclasses import replace

import torch
from torch.nn.functional import normalize

from benchmarks.implementations import batch_of
from tubelet.maskers.base import TOKENS
from tubelet.recipes.pretrain import Pretrain
from tubelet.seeds import fold, uniform
from tubelet.types import Batch, Clip

TEXT_WIDTH = 64  # of the small aligner's embeddings
PARTS = 3
OF_PARTS, OF_VECTORS = ("parts",), ("motion", "flow")


def batch_for(config: Pretrain, count: int, seed: int = 0) -> Batch:
    text = torch.randn(count, TEXT_WIDTH, generator=torch.Generator().manual_seed(seed))
    numbers = torch.arange(count)
    main = replace(
        with_maps(batch_of(config.clip, count, seed), config.clip, config.masker.needs),
        text=normalize(text, dim=1),
        caption=numbers,
        source=numbers,
        label=numbers % 4,
    )
    streams = {}
    for place, (name, stream) in enumerate(config.streams.items(), start=1):
        clip = stream.clip(config.clip)
        beside = with_maps(batch_of(clip, count, seed + place), clip, stream.masker.needs)
        streams[name] = replace(beside, key=main.key, text=main.text, caption=numbers, source=numbers)
    return replace(main, streams=streams)


def with_maps(batch: Batch, clip: Clip, needs: tuple[str, ...]) -> Batch:
    maps = {}
    for name in needs:
        if name == TOKENS:
            continue
        shape: tuple[int, ...] = (clip.num_tubelets,)
        if name in OF_PARTS:
            shape = (clip.num_tubelets, PARTS)
        elif name in OF_VECTORS:
            shape = (clip.frames, *clip.grid[1:], 2)
        maps[name] = uniform(fold(batch.key, name), math.prod(shape)).unflatten(1, shape)
    return replace(batch, maps=maps)
