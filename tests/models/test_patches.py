from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import RecipeError
from tubelet.models.patches import MEAN, STD, cut, gather, grid_table, join, position_table, value_scale
from tubelet.types import Clip


@st.composite
def clips(draw):
    frames, size = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    return Clip(
        frames=frames * draw(st.integers(1, 4)),
        size=size * draw(st.integers(1, 4)),
        tubelet_frames=frames,
        tubelet_size=size,
    )


def video_of(clip, count=2, seed=0):
    random = torch.Generator().manual_seed(seed)
    shape = (count, 3, clip.frames, clip.size, clip.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)


@given(clips())
@settings(max_examples=40, deadline=None)
def test_a_tubelet_holds_colour_frame_row_column_of_its_place_in_the_grid(clip):
    video = video_of(clip)
    tubelets = cut(video, clip).numpy()
    time_steps, rows, columns = clip.grid
    assert tubelets.shape == (2, clip.num_tubelets, clip.tubelet_values)
    t, s = clip.tubelet_frames, clip.tubelet_size
    for time_step, row, column in np.ndindex(time_steps, rows, columns):
        index = (time_step * rows + row) * columns + column
        piece = video[:, :, time_step * t : time_step * t + t, row * s : row * s + s, column * s : column * s + s]
        np.testing.assert_array_equal(tubelets[:, index], piece.flatten(1).numpy())


@given(clips())
@settings(max_examples=40, deadline=None)
def test_join_undoes_cut(clip):
    video = video_of(clip)
    assert torch.equal(join(cut(video, clip), clip), video)


def test_without_its_background_a_clip_holds_what_moves_four_times_as_strong_about_middle_grey():
    clip = Clip(frames=4, size=8, tubelet_frames=2, tubelet_size=4, subtract_background=True)
    video = video_of(clip)[:, :, :1].repeat(1, 1, 4, 1, 1)
    assert (cut(video, clip) == 128).all()  # nothing moves
    video[0, 0, :, 3, 5] = torch.tensor([100, 110, 100, 110], dtype=torch.uint8)
    moved = join(cut(video, clip), clip)
    assert moved[0, 0, :, 3, 5].tolist() == [108, 148, 108, 148]
    moved[0, 0, :, 3, 5] = 128
    assert (moved == 128).all()
    exact = join(cut(video.float(), clip), clip)
    assert exact.dtype == torch.float32
    assert exact[0, 0, :, 3, 5].tolist() == [108, 148, 108, 148]


def test_a_single_frame_has_no_background_that_could_be_taken_away():
    with pytest.raises(RecipeError, match="leaves what moves in a video, and a clip of one frame has none"):
        Clip(frames=1, tubelet_frames=1, subtract_background=True)


def test_a_clip_of_another_size_is_not_cut():
    with pytest.raises(ValueError, match="3x16x224x224"):
        cut(video_of(Clip(size=32)), Clip())


def test_gather_picks_each_samples_own_rows_and_sends_gradients_back_to_them():
    rows = torch.randn(3, 7, 5, requires_grad=True)
    where = torch.tensor([[0, 6], [3, 3], [5, 1]])
    picked = gather(rows, where)
    assert torch.equal(picked, torch.stack([rows[i, where[i]] for i in range(3)]))
    picked.sum().backward()
    assert rows.grad is not None
    assert rows.grad[1, 3].eq(2).all()
    assert rows.grad.sum() == 6 * 5


def test_positions_have_the_golden_values_of_videomae():
    table = position_table(1568, 768)
    assert table.dtype == torch.float32
    np.testing.assert_allclose(table[1, :4], [0.84147096, 0.54030228, 0.82843077, 0.56009150], atol=5e-8)
    np.testing.assert_allclose(table[1567, :4], [0.60894841, -0.79320985, 0.09323163, -0.99564445], atol=5e-8)
    assert table.double().sum().item() == pytest.approx(245744.98956693, abs=1e-3)
    assert position_table(1568, 384).double().sum().item() == pytest.approx(122425.85787317, abs=1e-3)


@pytest.mark.parametrize("width", [1, 5, 8])
def test_positions_are_sine_on_even_and_cosine_on_odd_columns_for_any_width(width):
    table = position_table(11, width)
    for index, column in np.ndindex(11, width):
        angle = index / 10000 ** (2 * (column // 2) / width)
        assert table[index, column].item() == pytest.approx([np.sin, np.cos][column % 2](angle), abs=1e-6)


def test_value_scale_gives_imagenet_colours_zero_mean_and_unit_variance():
    clip = Clip(frames=2, size=4, tubelet_size=4)
    scale, shift = value_scale(clip)
    for colour in range(3):
        part = slice(colour * 32, (colour + 1) * 32)
        values = torch.tensor([MEAN[colour], MEAN[colour] + STD[colour]]) * 255
        for value, wanted in zip(values, (0.0, 1.0), strict=True):
            torch.testing.assert_close(value * scale[part] + shift[part], torch.full((32,), wanted), atol=1e-5, rtol=0)


@given(clips(), st.integers(6, 40))
@settings(max_examples=40, deadline=None)
def test_the_grid_table_tells_every_tubelet_apart_and_its_nearness_is_that_of_time_step_row_and_column_apart(
    clip, width
):
    table = grid_table(clip.grid, width).double()
    assert table.shape == (clip.num_tubelets, width)
    apart = torch.cdist(table, table)
    assert (apart + torch.eye(len(table)) * 9 > 1e-3).all()
    distance = (
        apart.square().unflatten(0, clip.grid).unflatten(3, clip.grid)
    )  # time_step row column time_step row column
    expected = (
        distance[:, 0, 0, :, 0, 0][:, None, None, :, None, None]
        + distance[0, :, 0, 0, :, 0][None, :, None, None, :, None]
        + distance[0, 0, :, 0, 0, :][None, None, :, None, None, :]
    )
    torch.testing.assert_close(distance, expected.expand_as(distance), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("table", [lambda: position_table(6, 12), lambda: grid_table((2, 2, 2), 12)])
def test_tables_follow_the_device_after_transformers_has_loaded_a_model(table: Callable[[], torch.Tensor]):
    initialization = pytest.importorskip("transformers.initialization")
    kept = torch.utils._device._device_constructors
    kept.cache_clear()
    try:
        with initialization.meta_device_safe_creation_ops(), torch.device("meta"):
            torch.zeros(1)  # the first call under a device keeps the functions that follow it: linspace is patched now
        with torch.device("meta"):
            assert table().device.type == "meta"
    finally:
        kept.cache_clear()
