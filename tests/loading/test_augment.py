"""Crops: inside the frame, of the size asked for, and the same pixels as a plain reference shows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tubelet.errors import RecipeError
from tubelet.loading.augment import Augment, names_a_side
from tubelet.video.crop import Crop, crop_frames


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(1, 400), width=st.integers(1, 400))
def test_a_crop_is_inside_the_frame_and_keeps_to_whole_pixels(seed: int, height: int, width: int) -> None:
    crop = Augment().draw(np.random.default_rng(seed), height, width)
    top, left, rows, columns = crop.pixels(height, width)
    assert 0 <= top <= top + rows <= height
    assert 0 <= left <= left + columns <= width
    assert crop.top * height == pytest.approx(top, abs=1e-9)
    assert crop.width * width == pytest.approx(columns, abs=1e-9)
    assert not crop.flip


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_area_and_shape_keep_to_their_limits_where_the_frame_allows(seed: int) -> None:
    crop = Augment(smallest=0.3, largest=0.5, aspect=1.2).draw(np.random.default_rng(seed), 1000, 1000)
    assert 0.295 <= crop.height * crop.width <= 0.505
    assert 1 / 1.21 <= crop.height / crop.width <= 1.21


def test_crops_reach_every_corner() -> None:
    rng = np.random.default_rng(0)
    crops = [Augment().draw(rng, 100, 160) for _ in range(2000)]
    assert min(c.top for c in crops) == min(c.left for c in crops) == 0
    assert max(c.top + c.height for c in crops) == pytest.approx(1)
    assert max(c.left + c.width for c in crops) == pytest.approx(1)


def test_half_of_the_clips_are_mirrored_where_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    flips = [Augment(flip=True).draw(rng, 50, 50).flip for _ in range(1000)]
    assert 430 < sum(flips) < 570


def test_the_draw_takes_as_many_numbers_whatever_it_draws() -> None:
    after = []
    for augment in (Augment(), Augment(flip=True), Augment(smallest=1.0, aspect=1.0)):
        rng = np.random.default_rng(5)
        augment.draw(rng, 30, 70)
        after.append(rng.random())
    assert len(set(after)) == 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(8, 40), flip=st.booleans())
def test_pixels_equal_an_antialiased_resize_in_floating_point(seed: int, size: int, flip: bool) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (3, 33, 47, 3), dtype=np.uint8)
    crop = Augment(flip=flip).draw(rng, 33, 47)
    got = crop_frames(frames, crop, size)
    top, left, rows, columns = crop.pixels(33, 47)
    inside = torch.from_numpy(frames[:, top : top + rows, left : left + columns].copy()).permute(0, 3, 1, 2).float()
    if crop.flip:
        inside = inside.flip(3)
    want = functional.interpolate(inside, size=(size, size), mode="bilinear", antialias=True)
    assert got.shape == (3, 3, size, size)
    assert got.is_contiguous()
    assert (got.float() - want.transpose(0, 1)).abs().max() <= 1.51


def test_the_centre_is_the_largest_square() -> None:
    assert Crop.centre(90, 160).pixels(90, 160) == (0, 35, 90, 90)
    assert Crop.centre(160, 90).pixels(160, 90) == (35, 0, 90, 90)
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 20, 3), dtype=np.uint8)
    got = crop_frames(frames, Crop.centre(16, 20), 16)
    np.testing.assert_array_equal(got.numpy(), frames[:, :, 2:18].transpose(3, 0, 1, 2))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Turn LEFT here", "left"),
        ("moves_right", "right"),
        ("MovingLeft", "left"),
        ("leftward motion", "left"),
        ("counterclockwise", "clockwise"),
        ("anti-clockwise", "clockwise"),
        ("right-handed", "right"),
        ("a bright light, right?", "right"),
        ("a bright cleft", None),
        ("leftovers on a plate", None),
        ("he copyrights it", None),
        ("", None),
    ],
)
def test_words_that_name_a_side_are_found_as_words(text: str, word: str | None) -> None:
    assert names_a_side(["nothing", text], Augment().words) == word
    assert names_a_side([text], ()) is None


def test_shares_that_make_no_sense_are_refused() -> None:
    for wrong in ({"smallest": 0.0}, {"smallest": 0.9, "largest": 0.5}, {"largest": 1.1}, {"aspect": 0.5}):
        with pytest.raises(RecipeError):
            Augment(**wrong)
