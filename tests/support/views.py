"""What an encoder would make of the views of a few clips, without an encoder."""

import torch

from tubelet.types import CLIP, Batch, Clip, Encoded, Mask

SIZE = Clip(frames=4, size=32)
WIDTH = 16


def encoded(count, seed, source=None, width=WIDTH, teacher=None, streams=None, tokens=None):
    """Random tokens that take gradients."""
    random = torch.Generator().manual_seed(seed)
    where = torch.arange(SIZE.num_tubelets).repeat(count, 1)
    batch = Batch(
        video=torch.zeros((count, 3, 4, 32, 32), dtype=torch.uint8),
        key=torch.arange(count),
        ids=tuple(map(str, range(count))),
        source=torch.arange(count) if source is None else torch.tensor(source),
    )
    if tokens is None:
        tokens = torch.randn(count, SIZE.num_tubelets, width, generator=random)
    mask = Mask(visible=where, hidden=where[:, :0], decode=where[:, :0])
    tubelets = torch.zeros((count, SIZE.num_tubelets, SIZE.tubelet_values), dtype=torch.uint8)
    return Encoded(SIZE, batch, mask, tubelets, tokens.clone().requires_grad_(), streams or {}, teacher)


def views_of(count=5, seed=0, source=None, taught=(), extra=()):
    """A clip and its stream `second` (and others, by name), and what a teacher makes of those that are `taught`."""
    names = ("second", *extra)
    streams = {
        name: encoded(
            count, seed + 1 + number, source,
            teacher=encoded(count, seed + 100 + number, source) if name in taught else None,
        )
        for number, name in enumerate(names)
    }  # fmt: skip
    teacher = encoded(count, seed + 200, source) if CLIP in taught else None
    return encoded(count, seed, source, streams=streams, teacher=teacher)
