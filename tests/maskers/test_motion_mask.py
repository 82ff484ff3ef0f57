"""The box that moves with the codec's vectors."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tubelet.errors import RecipeError
from tubelet.maskers import Motion
from tubelet.types import Batch, Clip

CLIP = Clip()


def batch_with(vectors: torch.Tensor, clip: Clip = CLIP) -> Batch:
    """`vectors` in positions a frame."""
    shares = vectors / torch.tensor([clip.grid[2], clip.grid[1]])
    count = len(vectors)
    video = torch.zeros(count, 3, clip.frames, clip.size, clip.size, dtype=torch.uint8)
    return Batch(video, torch.arange(count), tuple("abcdefgh"[:count]), maps={"motion": shares})


def hidden(masker: Motion, batch: Batch, clip: Clip = CLIP) -> torch.Tensor:
    mask = masker(batch, clip, batch.key)
    return torch.zeros(len(batch), clip.num_tubelets).scatter(1, mask.hidden, 1.0).unflatten(1, clip.grid)


def test_at_a_ratio_of_three_quarters_147_of_196_places_are_hidden_at_every_time_step() -> None:
    got = hidden(Motion(), batch_with(torch.randn(2, 16, 14, 14, 2)))
    assert (got.sum((2, 3)) == 147).all()


def test_the_box_lies_over_the_strongest_motion_and_moves_with_it() -> None:
    vectors = torch.zeros(1, 16, 14, 14, 2)
    for frame in range(16):  # 4x4 positions that move half a position a frame to the right, from row 5, column 1
        left = 1 + frame // 2
        vectors[0, frame, 5:9, left : left + 4, 0] = 0.5
    masker = Motion(ratio=16 / 196, box=16 / 196)
    got = hidden(masker, batch_with(vectors))
    for time_step in range(8):
        assert got[0, time_step, 5:9, 1 + time_step : 5 + time_step].all()


@given(dx=st.floats(-0.3, 0.3), dy=st.floats(-0.3, 0.3), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_in_a_uniform_field_the_box_moves_by_exactly_that_vector_until_the_border(dx, dy, seed) -> None:
    assume(abs(dx) + abs(dy) > 0.01)  # else nothing says where the box starts
    vectors = torch.tensor([dx, dy]).expand(1, 16, 14, 14, 2).clone()
    row, column = torch.randint(2, 8, (2,), generator=torch.Generator().manual_seed(seed)).tolist()
    vectors[0, :2, row : row + 4, column : column + 4] *= 1.001  # says where the box starts
    scores = Motion(ratio=16 / 196).scores(batch_with(vectors), CLIP, torch.zeros(1).long()).unflatten(1, CLIP.grid)[0]
    for time_step in range(8):
        top, left = (np.clip(start + 2 * time_step * step, 0, 10) for start, step in ((row, dy), (column, dx)))
        position = np.arange(14) + 0.5
        down = np.minimum(position - top, top + 4 - position)[:, None]
        across = np.minimum(position - left, left + 4 - position)[None]
        inside = np.minimum(down, across)
        outside = -np.hypot(np.minimum(down, 0), np.minimum(across, 0))
        np.testing.assert_allclose(scores[time_step], np.where(inside > 0, inside, outside), atol=2e-2)


def test_without_motion_the_mask_is_a_tube() -> None:
    got = hidden(Motion(), batch_with(torch.zeros(1, 16, 14, 14, 2)))
    assert (got == got[:, :1]).all()


def test_compensation_looks_for_what_moves_against_the_camera() -> None:
    vectors = torch.zeros(1, 16, 14, 14, 2)
    vectors[..., 0] = 1.0  # a pan
    vectors[0, :, 2:6, 2:6] = 0.0  # and what it follows
    vectors[0, :, 10:13, 10:13, 0] = 1.2
    masker = {how: Motion(ratio=16 / 196, compensate=how) for how in ("none", "median")}
    got = {how: hidden(masker[how], batch_with(vectors))[0, 0] for how in masker}
    assert got["none"][10:13, 10:13].all()
    assert got["median"][2:6, 2:6].all()


def test_the_start_may_be_chosen_over_the_whole_clip() -> None:
    vectors = torch.zeros(1, 16, 14, 14, 2)
    vectors[0, :2, 0:4, 0:4, 1] = 1.0
    vectors[0, 4:, 9:13, 9:13, 1] = 0.9
    for start, row in (("first", 0), ("clip", 9)):
        got = hidden(Motion(ratio=16 / 196, start=start), batch_with(vectors))[0, 0]
        assert got[row : row + 4, row : row + 4].all()


def test_the_box_keeps_the_shape_asked_for_and_nonsense_is_refused() -> None:
    assert Motion().size(CLIP) == (12, 12)
    assert Motion(box=0.25).size(CLIP) == (7, 7)
    assert Motion(box=0.25, aspect=4.0).size(CLIP) == (14, 4)
    with pytest.raises(RecipeError, match=r"masker\.box=2 must be a share"):
        Motion(box=2.0)
    with pytest.raises(RecipeError, match=r"masker\.aspect=0 must be positive"):
        Motion(aspect=0.0)
