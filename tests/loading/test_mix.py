"""Mixup and CutMix: targets are shares that sum to one and say what the pixels show."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import RecipeError
from tubelet.loading.mix import Mix, box, smooth

CLASSES = 5


def flat(count: int, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of one brightness each: 0, 40, 80, ..., of different classes."""
    label = torch.arange(count) % CLASSES
    video = (40 * label).to(torch.uint8)[:, None, None, None, None].expand(count, 3, 2, size, size).contiguous()
    return video, label


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6), st.integers(1, 7), st.sampled_from([0.0, 0.4, 0.8]), st.sampled_from([0.0, 1.0]),
    st.floats(0, 0.5),
)  # fmt: skip
def test_targets_sum_to_one_and_nothing_is_negative(seed, count, mixup, cutmix, smoothing):
    torch.manual_seed(seed)
    video, label = flat(count)
    mixed = Mix(mixup=mixup, cutmix=cutmix, smoothing=smoothing)(video, label, CLASSES)
    torch.testing.assert_close(mixed.target.sum(1), torch.ones(count))
    assert mixed.target.min() >= 0
    assert mixed.video.shape == video.shape


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from(["mixup", "cutmix"]))
def test_the_target_is_the_share_of_the_pixels(seed, kind):
    """Of flat clips the mean brightness says how much of each clip is there."""
    torch.manual_seed(seed)
    video, label = flat(4)
    own = Mix(mixup=0.8 * (kind == "mixup"), cutmix=1.0 * (kind == "cutmix"), smoothing=0.0)
    mixed = own(video, label, CLASSES)
    shown = mixed.video.float().mean((1, 2, 3, 4)) / 40
    expected = (mixed.target * torch.arange(CLASSES)).sum(1)
    torch.testing.assert_close(shown, expected, atol=1e-4, rtol=1e-4)


def test_cutmix_keeps_every_pixel_of_one_of_the_two_and_the_same_in_all_frames():
    torch.manual_seed(1)
    video = torch.randint(0, 255, (4, 3, 5, 16, 16), dtype=torch.uint8)
    mixed = Mix(mixup=0.0)(video, torch.arange(4), CLASSES).video
    assert mixed.dtype == torch.uint8
    own, other = mixed == video, mixed == video.flip(0)
    assert (own | other).all()
    taken = (~own).any(1).any(1)  # b h w: where anything came from the other clip
    assert taken.any()
    assert torch.equal(taken[0], taken[3])


def test_the_box_covers_one_less_the_share_where_the_edge_does_not_cut_it():
    torch.manual_seed(0)
    for share in (0.2, 0.5, 0.9):
        areas = [float(box(share, 64, 48).float().mean()) for _ in range(200)]
        assert max(areas) == pytest.approx(1 - share, abs=0.05)  # whole pixels, halved


def test_mixup_and_cutmix_are_each_taken_half_of_the_time():
    video, label = flat(2)
    torch.manual_seed(0)
    floats = [Mix()(video, label, CLASSES).video.is_floating_point() for _ in range(400)]
    assert sum(floats) / 400 == pytest.approx(0.5, abs=0.08)


def test_without_mixing_targets_are_smoothed_as_cross_entropy_smooths_them():
    scores, label = torch.randn(6, CLASSES), torch.arange(6) % CLASSES
    video, _ = flat(6)
    mixed = Mix(mixup=0.0, cutmix=0.0, smoothing=0.1)(video, label, CLASSES)
    assert mixed.video is video
    ours = -(mixed.target * scores.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(ours, torch.nn.functional.cross_entropy(scores, label, label_smoothing=0.1))
    torch.testing.assert_close(smooth(label, CLASSES, 0.0), torch.eye(CLASSES)[label])


def test_what_is_drawn_follows_the_seed_of_the_step():
    video, label = flat(4)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(Mix()(video, label, CLASSES).target)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_share_beyond_one_is_refused():
    with pytest.raises(RecipeError, match=r"mix\.switch"):
        Mix(switch=1.5)
