"""What every listed decode mask promises. One is tested by being listed in `tubelet.maskers.DECODES`."""

import sys
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import RecipeError
from tubelet.maskers import DECODES, All, Frame, Random, RunningCell, SmoothNoise, Tube
from tubelet.seeds import fold
from tubelet.types import Batch, Clip

every_decode = pytest.mark.parametrize("decode_class", DECODES, ids=lambda c: c.__name__)
grids = st.builds(
    lambda time_steps, side: Clip(frames=2 * time_steps, size=4 * side, tubelet_frames=2, tubelet_size=4),
    st.integers(4, 8),
    st.integers(2, 7),
)
masks = st.sampled_from([Random(ratio=0.7), Tube(ratio=0.6), Frame(ratio=0.5), SmoothNoise(ratio=0.5)])


def keys(count, first=0):
    return torch.arange(first, first + count)


def hidden_by(masker, clip, key):
    batch = Batch(
        video=torch.zeros(len(key), 3, clip.frames, clip.size, clip.size, dtype=torch.uint8),
        key=key,
        ids=tuple(str(int(k)) for k in key),
    )
    return masker(batch, clip, fold(key, "mask")).hidden


@every_decode
@settings(deadline=None, max_examples=40)
@given(clip=grids, masker=masks)
def test_the_decoded_are_a_sorted_subset_of_the_hidden_with_the_exact_count(decode_class, clip, masker):
    decode, key = decode_class(), keys(4)
    hidden = hidden_by(masker, clip, key)
    decoded = decode(hidden, clip, fold(key, "decode"))
    assert decoded.shape == (4, decode.count(hidden.shape[1]))
    assert (decoded.diff(dim=1) > 0).all()
    for some, every in zip(decoded.tolist(), hidden.tolist(), strict=True):
        assert set(some) <= set(every)


@every_decode
def test_a_clip_decodes_the_same_in_any_batch(decode_class):
    clip, decode = Clip(frames=16, size=64, tubelet_size=8), decode_class()
    whole, alone = keys(8), keys(1, first=5)
    hidden = hidden_by(Random(ratio=0.7), clip, whole)
    decoded = decode(hidden, clip, fold(whole, "decode"))
    assert torch.equal(decode(hidden[5:6], clip, fold(alone, "decode")), decoded[5:6])
    assert torch.equal(decode(hidden, clip, fold(whole, "decode")), decoded)


@every_decode
def test_a_decode_mask_is_a_frozen_config_in_a_file_that_names_its_paper_and_its_law(decode_class):
    with pytest.raises(FrozenInstanceError):
        decode_class().share = 0.1
    story = sys.modules[decode_class.__module__].__doc__
    assert "arXiv" in story
    assert "Invariant:" in story


def test_all_decodes_whatever_is_hidden():
    hidden = hidden_by(Tube(), Clip(), keys(2))
    assert All()(hidden, Clip(), keys(2)) is hidden


@settings(deadline=None, max_examples=40)
@given(clip=grids, masker=masks, share=st.floats(0.05, 1.0))
def test_a_running_cell_keeps_int_share_m_under_any_encoder_mask(clip, masker, share):
    key = keys(3)
    hidden = hidden_by(masker, clip, key)
    if int(share * hidden.shape[1] + 1e-9) < 1:
        return
    decoded = RunningCell(share=share)(hidden, clip, fold(key, "decode"))
    assert decoded.shape[1] == int(share * hidden.shape[1] + 1e-9)


@pytest.mark.parametrize("clip", [Clip(), Clip(frames=24, size=96)], ids=["8x14x14", "12x6x6"])
def test_on_a_full_even_grid_a_running_cell_decodes_every_place_exactly_twice_in_any_4_time_steps(clip):
    time_steps, rows, columns = clip.grid
    full = torch.arange(clip.num_tubelets).expand(16, -1)
    decoded = RunningCell(share=0.5)(full, clip, fold(keys(16), "decode"))
    picture = torch.zeros(16, clip.num_tubelets).scatter(1, decoded, 1.0).unflatten(1, (time_steps, rows * columns))
    assert (picture.sum(2) == rows * columns // 2).all()
    for first in range(time_steps - 3):
        assert (picture[:, first : first + 4].sum(1) == 2).all()


def test_a_running_cell_is_the_2x2_pattern_of_videomae_v2_that_moves_back_a_step_a_time_step():
    """Against a loop over cells, time steps and corners, for each of the four starts; in the first 4 time steps the
    decoded corners of VideoMAE V2's code are 01 10, 11 00, 10 01 and 00 11 (rows of a cell), from any of them on."""
    clip = Clip(frames=16, size=64)
    time_steps, rows, columns = clip.grid
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
    expected = []
    for start in range(4):
        picture = torch.zeros(time_steps, rows, columns)
        for time_step in range(time_steps):
            for row in range(0, rows, 2):
                for column in range(0, columns, 2):
                    for kept in (0, 1):
                        down, across = corners[(start - time_step + kept) % 4]
                        picture[time_step, row + down, column + across] = 1
        expected.append(picture.flatten().nonzero().flatten().tolist())
    full = torch.arange(clip.num_tubelets).expand(200, -1)
    decoded = RunningCell(share=0.5)(full, clip, fold(keys(200), "decode")).tolist()
    found = [expected.index(one) for one in decoded]
    assert min(found.count(start) for start in range(4)) > 25  # of 50 expected


def test_under_a_mask_a_running_cell_takes_whole_phases_first_and_the_rest_by_chance():
    clip, key = Clip(), keys(64)
    hidden = hidden_by(Random(ratio=0.9), clip, key)
    decode = RunningCell(share=0.3)
    decoded = decode(hidden, clip, fold(key, "decode"))
    quarter = RunningCell(share=0.2)(hidden, clip, fold(key, "decode"))
    for less, more in zip(quarter.tolist(), decoded.tolist(), strict=True):
        assert set(less) <= set(more)
    time_step = (
        decoded // clip.num_positions
    )  # the last phase that is needed is cut by chance, not from the end of the clip
    counts = torch.stack([(time_step == s).float().sum(1).mean() for s in range(8)])
    assert (counts / counts.mean() - 1).abs().max() < 0.1


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(RecipeError, match=r"decode\.share="):
        RunningCell(share=share)


def test_a_share_that_leaves_nothing_is_refused_by_the_count():
    with pytest.raises(RecipeError, match="take a larger share"):
        RunningCell(share=0.01).count(50)


def test_another_key_starts_the_cell_elsewhere():
    clip, key = Clip(frames=16, size=64), keys(1)
    full = torch.arange(clip.num_tubelets)[None]
    first = RunningCell()(full, clip, fold(key, "decode"))
    others = [RunningCell()(full, clip, fold(other_key, "decode")) for other_key in (keys(1, n) for n in range(20))]
    assert any(not torch.equal(first, other) for other in others)
