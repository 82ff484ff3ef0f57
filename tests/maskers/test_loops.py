"""Every masker against a loop over clips in NumPy, fed with the same noise and maps."""

import numpy as np
import pytest
import torch

from support import loops
from tubelet.maskers import (
    Attention,
    Blend,
    Block,
    Centre,
    Frame,
    Future,
    Oracle,
    PartPriority,
    Parts,
    Past,
    Random,
    RunningCell,
    SmoothNoise,
    Text,
    TextFrame,
    Tube,
)
from tubelet.seeds import fold, uniform
from tubelet.types import Batch, Clip

CLIP = Clip()
CASES = [
    (Random(), loops.random), (Tube(), loops.tube), (Frame(), loops.frame), (Future(), loops.future),
    (Past(), loops.past),
    (Centre(), loops.centre), (Block(), loops.block), (SmoothNoise(), loops.smooth_noise), (Text(), loops.text),
    (Text(pick="sample"), loops.text_sampled), (TextFrame(), loops.text_frame), (Oracle(), loops.oracle),
    (Attention(), loops.attention),
    (Blend(), loops.blend), (Parts(), loops.parts), (PartPriority(), loops.part_priority),
]  # fmt: skip


def batch_of(count=6):
    key = torch.arange(count)
    maps = {name: uniform(fold(key, name), 1568) for name in ("text", "motion", "oracle", "attention")}
    maps["parts"] = uniform(fold(key, "parts"), 5 * 1568).unflatten(1, (-1, 5))
    video = torch.zeros(count, 3, 16, 224, 224, dtype=torch.uint8)
    return Batch(video=video, key=key, ids=("",) * count, maps=maps)


def noise(key):
    """Numbers for one clip: first those of the key, and (of a masker that draws once more) those of the time steps'
    key; or of the key for a purpose."""
    keys = iter((key, fold(key, "slots")))
    return lambda count, purpose="": uniform(fold(key, purpose) if purpose else next(keys), count)[0].numpy()


@pytest.mark.parametrize(("masker", "loop"), CASES, ids=lambda part: getattr(part, "__name__", type(part).__name__))
def test_a_batch_gets_the_masks_of_the_loop(masker, loop):
    """To the last tubelet, but for a few of a thousand where the two round logarithms and means differently."""
    batch = batch_of()
    key = fold(batch.key, "mask")
    mask = masker(batch, CLIP, key)
    for number in range(len(batch)):
        maps = {name: values[number].numpy() for name, values in batch.maps.items()}
        hidden, visible = loop(maps, noise(key[number : number + 1]))
        assert hidden.shape == mask.hidden[number].shape
        assert len(np.setxor1d(hidden, mask.hidden[number].numpy())) <= 4
        assert len(np.setxor1d(visible, mask.visible[number].numpy())) <= 4


def test_a_running_cell_decodes_what_the_loop_does():
    batch = batch_of()
    key = fold(batch.key, "decode")
    hidden = Random()(batch, CLIP, key).hidden
    decoded = RunningCell()(hidden, CLIP, key)
    for number in range(len(batch)):
        draw = noise(key[number : number + 1])
        assert loops.running_cell(hidden[number].numpy(), draw).tolist() == decoded[number].tolist()
