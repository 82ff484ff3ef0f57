"""Completion: nothing of the hole is looked at, nothing around it changes, and the baselines are what they say."""

import numpy as np
import pytest
import torch

from tubelet.errors import RecipeError
from tubelet.evaluations import Completion, Context
from tubelet.evaluations.completion import blended, complete, copied, psnr
from tubelet.maskers import Tube
from tubelet.models import Cross, Decoder, Vit
from tubelet.objectives import Contrast, Denoise, Pixels
from tubelet.objectives.targets import PerColour, PerTubelet, Raw
from tubelet.tasks import Pretraining
from tubelet.types import Clip

CLIP = Clip(frames=8, size=32, tubelet_frames=2, tubelet_size=16)
SMALL = Decoder(width=24, depth=1, heads=2)


def task_of(objective=None, clip=CLIP):
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=1, heads=2).build(clip)
    return Pretraining(clip, encoder, Tube(ratio=0.5), {"pixels": objective or Pixels(decoder=SMALL)}, 8).eval()


def clips(count=3, clip=CLIP):
    shape = (count, 3, clip.frames, clip.size, clip.size)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def hole_of(*cells):
    hole = torch.zeros(CLIP.grid, dtype=torch.bool)
    for cell in cells:
        hole[cell] = True
    return hole


OBJECTIVES = [
    *(Pixels(decoder=SMALL, target=target) for target in (PerColour(), PerTubelet(), PerTubelet(frames="all"), Raw())),
    Pixels(decoder=Cross(width=24, depth=1, heads=2)),
    Denoise(decoder=SMALL, steps=20, samples=3),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: f"{type(one).__name__}-{type(one.target).__name__}")
def test_what_stands_in_the_hole_is_not_looked_at_and_what_stands_outside_does_not_change(objective):
    video, hole = clips(), hole_of((1, 0, 1), (2, 1, 1), (3, 0, 0))
    hidden = hole.repeat_interleave(2, 0).repeat_interleave(16, 1).repeat_interleave(16, 2)
    task = task_of(objective)
    made = complete(task, video, hole)
    assert torch.equal(made[:, :, ~hidden], video[:, :, ~hidden])
    assert not torch.equal(made[:, :, hidden], video[:, :, hidden])
    other = video.clone()
    other[:, :, hidden] = 255 - other[:, :, hidden]
    assert torch.equal(complete(task, other, hole)[:, :, hidden], made[:, :, hidden])


def test_holes_may_differ_from_clip_to_clip_but_not_in_size():
    video = clips(2)
    one, other = hole_of((0, 0, 0)), hole_of((3, 1, 1))
    made = complete(task_of(), video, torch.stack([one, other]))
    torch.testing.assert_close(made[:1], complete(task_of(), video[:1], one), rtol=0, atol=1)
    with pytest.raises(ValueError, match="equally many of every clip"):
        complete(task_of(), video, torch.stack([one, one | other]))
    for empty in (hole_of(), ~hole_of()):
        with pytest.raises(ValueError, match="some of 16 tubelets and not all"):
            complete(task_of(), video, empty)


def test_copy_and_blend_are_what_a_loop_over_pixels_says():
    video, hole = clips(1), hole_of((1, 0, 1), (2, 0, 1), (0, 1, 0), (3, 1, 1))
    hidden = hole.repeat_interleave(2, 0).repeat_interleave(16, 1).repeat_interleave(16, 2).numpy()
    frames = video[0].numpy().astype(float)
    copy, blend = frames.copy(), frames.copy()
    for t, y, x in np.argwhere(hidden):
        seen = np.flatnonzero(~hidden[:, y, x])
        before, after = seen[seen < t], seen[seen > t]
        near = min(seen, key=lambda other: (abs(other - t), other))
        copy[:, t, y, x] = blend[:, t, y, x] = frames[:, near, y, x]
        if len(before) and len(after):
            first, last = before[-1], after[0]
            share = (t - first) / (last - first)
            blend[:, t, y, x] = (1 - share) * frames[:, first, y, x] + share * frames[:, last, y, x]
    np.testing.assert_array_equal(copied(video, hole[None], CLIP)[0].numpy(), copy)
    np.testing.assert_allclose(blended(video, hole[None], CLIP)[0].numpy(), blend, atol=1e-3)


def test_a_place_that_no_frame_shows_is_copied_from_the_nearest_visible_tubelet():
    video, hole = clips(1), hole_of(*((t, 0, 0) for t in range(4)))
    for made in (copied(video, hole[None], CLIP), blended(video, hole[None], CLIP)):
        assert torch.equal(made[..., :16, :16], video[..., :16, 16:].float())


def test_decibels_are_those_of_the_hole_alone():
    video = torch.full((1, 3, 2, 4, 4), 100, dtype=torch.uint8)
    hidden = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    hidden[:, 0, :2] = True
    other = video.clone()
    other[:, :, 0, :2] = 110
    other[:, :, 1] = 0  # outside
    assert psnr(video, other, hidden) == pytest.approx([10 * np.log10(255**2 / 100)])
    assert psnr(video, video, hidden) == pytest.approx([10 * np.log10(255**2 / 0.25)])


@pytest.mark.parametrize("hole", ["future", "centre", "frame", "random"])
def test_the_evaluation_says_how_far_a_decoder_is_from_copying(small, clip, data, hole):
    context = Context(task_of(clip=clip).encoder, small, clip, data, task_of(clip=clip))
    result = Completion(hole=hole, samples=50).run(context)
    assert result.metrics["psnr"].unit == "dB"
    assert 0 < result.metrics["psnr"].value < 60
    assert {"copy_psnr", "blend_psnr"} <= result.references.keys()
    assert result.counts["test"]["used"] == 11


def test_a_run_without_a_decoder_of_pixels_is_refused(small, clip, data):
    task = task_of(Contrast(), clip)
    with pytest.raises(RecipeError, match="predicts pixels of the clip"):
        complete(task, clips(clip=clip), torch.zeros(clip.grid, dtype=torch.bool))
    with pytest.raises(RecipeError, match="needs a run with the objective"):
        Completion().run(Context(task.encoder, small, clip, data))
