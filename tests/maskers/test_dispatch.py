"""Masks are drawn inside the training step, so nothing in them may wait for the device or loop over clips."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tubelet.maskers import DECODES, MASKERS, Random
from tubelet.seeds import fold
from tubelet.types import Batch, Clip

CLIP = Clip()
# Each needs a value on the host, or gives a shape that depends on values, which comes to the same.
WAITING = {
    "aten._local_scalar_dense", "aten.item", "aten.is_nonzero", "aten.equal", "aten.allclose", "aten.nonzero",
    "aten.nonzero_numpy", "aten.masked_select", "aten.unique", "aten._unique", "aten._unique2", "aten.unique_dim",
    "aten.unique_consecutive", "aten.bincount", "aten.repeat_interleave.Tensor",
}  # fmt: skip


class Recorder(TorchDispatchMode):
    """Counts operators; refuses to index by truth values."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen[str(function._schema.name).replace("::", ".")] += 1
        if "index" in function.__name__:
            flat = [part for arg in args if isinstance(arg, list | tuple) for part in arg]
            assert not any(isinstance(part, torch.Tensor) and part.dtype == torch.bool for part in flat), function
        return function(*args, **(kwargs or {}))


def operators(count, draw):
    """What is dispatched for so many clips. On the meta device nothing has a value that could be waited for."""
    key = torch.zeros(count, dtype=torch.int64, device="meta")
    scalar = torch.zeros(count, CLIP.num_tubelets, device="meta")
    vector = torch.zeros(count, CLIP.frames, *CLIP.grid[1:], 2, device="meta")
    parts = torch.zeros(count, CLIP.num_tubelets, 7, device="meta")
    maps = {**dict.fromkeys(("text", "oracle", "attention"), scalar), **dict.fromkeys(("motion", "flow"), vector)}
    maps["parts"] = parts
    video = torch.zeros(count, 3, 16, 224, 224, dtype=torch.uint8, device="meta")
    batch = Batch(video=video, key=key, ids=("",) * count, maps=maps, progress=0.5)
    with Recorder() as recorder:
        draw(batch, fold(key, "mask"))
    return recorder.seen


def assert_careful(draw):
    few, many = operators(2, draw), operators(64, draw)
    assert few == many, "the number of operators grows with the batch"
    assert not WAITING & few.keys()
    assert few.total() < 400


@pytest.mark.parametrize("masker_class", MASKERS, ids=lambda c: c.__name__)
def test_a_masker_neither_waits_for_the_device_nor_loops_over_clips(masker_class):
    masker = masker_class()
    policy = masker.build(CLIP, 32)
    draws = masker if policy is None else policy.to("meta")

    def draw(batch, key):
        tokens = torch.zeros(len(batch), CLIP.num_tubelets, 32, device="meta")
        assert draws(batch, CLIP, key, tokens).visible.device.type == "meta"

    assert_careful(draw)


@pytest.mark.parametrize("decode_class", DECODES, ids=lambda c: c.__name__)
def test_a_decode_mask_neither_waits_for_the_device_nor_loops_over_clips(decode_class):
    def draw(batch, key):
        decode_class()(Random()(batch, CLIP, key).hidden, CLIP, key)

    assert_careful(draw)


@pytest.mark.parametrize(
    "careless",
    [
        lambda key: key[key > 0],
        lambda key: float(key.sum()),
        lambda key: key.nonzero(),
        lambda key: [row.sum() for row in key],
    ],
)
def test_this_would_catch_what_is_careless(careless):
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        assert_careful(lambda batch, key: careless(key))
