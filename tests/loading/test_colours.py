"""Colours of a clip, against Python's own `colorsys` pixel by pixel and scipy's Gaussian."""

import colorsys

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from tubelet.errors import RecipeError
from tubelet.loading.colours import ColourAugment, gaussian_blur

SEEDS = 24
EACH = ("brightness", "contrast", "saturation", "hue")


def clip_of(seed=0, size=16, frames=3):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, frames, size, size)).astype(np.uint8))


def plain(frames, augment, rng):
    """The whole of it, pixel by pixel."""
    jittered, greyed, blurred, width = rng.random(4)
    amounts = dict(zip(EACH, 2 * rng.random(4) - 1, strict=True))
    order = np.argsort(rng.random(4))
    values = np.moveaxis(frames.numpy() / 255, 0, -1)  # t h w 3
    for name in [EACH[index] for index in order] if jittered < augment.jitter else []:
        amount, dark = amounts[name] * getattr(augment, name), values @ [0.299, 0.587, 0.114]
        if name == "hue":
            turned = [(h, s, v) for h, s, v in (colorsys.rgb_to_hsv(*p) for p in values.reshape(-1, 3))]
            turned = [colorsys.hsv_to_rgb((h + amount) % 1, s, v) for h, s, v in turned]
            values = np.array(turned).reshape(values.shape)
            continue
        about = {"brightness": 0.0, "contrast": dark.mean(), "saturation": dark[..., None]}[name]
        values = np.clip(about + (1 + amount) * (values - about), 0, 1)
    if greyed < augment.grey:
        values = np.repeat((values @ [0.299, 0.587, 0.114])[..., None], 3, -1)
    if blurred < augment.blur:
        deviation = (augment.blur_least + width * (augment.blur_most - augment.blur_least)) * frames.shape[-1] / 224
        radius = max(int(np.ceil(3 * deviation)), 1)
        values = gaussian_filter(values, (0, deviation, deviation, 0), mode="mirror", radius=(0, radius, radius, 0))
    return np.moveaxis(values, -1, 0) * 255


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_clip_is_changed_as_a_plain_loop_changes_its_pixels(seed):
    augment = ColourAugment(blur_most=30.0)
    ours = augment.apply(clip_of(seed), np.random.default_rng(seed)).numpy()
    np.testing.assert_allclose(ours, plain(clip_of(seed), augment, np.random.default_rng(seed)), atol=0.51)


def test_the_seeds_above_meet_each_change_and_each_left_out():
    draws = np.array([np.random.default_rng(seed).random(4)[:3] for seed in range(SEEDS)])
    happen = draws < np.array([0.8, 0.2, 0.5])
    assert happen.any(0).all()
    assert not happen.all(0).any()


@pytest.mark.parametrize("seed", range(4))
def test_equal_frames_stay_equal_so_that_motion_stays_what_it_was(seed):
    still = clip_of(frames=1).expand(-1, 5, -1, -1).contiguous()
    changed = ColourAugment(jitter=1.0, blur=1.0).apply(still, np.random.default_rng(seed))
    assert (changed == changed[:, :1]).all()
    assert not torch.equal(changed, still)


def test_a_key_gives_one_change_and_every_change_takes_the_same_amount_from_it():
    once, again = np.random.default_rng(3), np.random.default_rng(3)
    assert torch.equal(ColourAugment().apply(clip_of(), once), ColourAugment().apply(clip_of(), again))
    for augment in (ColourAugment(), ColourAugment(jitter=0.0, grey=0.0, blur=0.0), ColourAugment(jitter=1.0)):
        rng = np.random.default_rng(5)
        augment.apply(clip_of(), rng)
        assert rng.random() == np.random.default_rng(5).random(13)[12]


def test_with_no_change_a_clip_stays_as_it_is():
    nothing = ColourAugment(jitter=0.0, grey=0.0, blur=0.0)
    assert torch.equal(nothing.apply(clip_of(), np.random.default_rng(0)), clip_of())


def test_the_numbers_are_those_of_moco_v2():
    augment = ColourAugment()
    assert [augment.jitter, augment.grey, augment.blur] == [0.8, 0.2, 0.5]
    assert [getattr(augment, name) for name in EACH] == [0.4, 0.4, 0.4, 0.1]
    assert (augment.smallest, augment.largest, augment.blur_least, augment.blur_most) == (0.2, 1.0, 0.1, 2.0)


def test_a_blur_keeps_the_mean_of_a_flat_frame_and_the_size_of_a_tiny_one():
    torch.testing.assert_close(gaussian_blur(torch.full((3, 2, 4, 4), 0.3), 5.0), torch.full((3, 2, 4, 4), 0.3))


@pytest.mark.parametrize("wrong", [{"grey": 2.0}, {"hue": 0.7}, {"blur_least": 0.0}, {"blur_most": 0.05}])
def test_impossible_numbers_are_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(RecipeError, match=rf"augment\.{name}"):
        ColourAugment(**wrong)
