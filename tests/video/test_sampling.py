"""The sampler of frames, against counting by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import RecipeError, VideoError
from tubelet.types import Clip
from tubelet.video.sampling import Sampling, Segments

CLIP = Clip(frames=4, size=16, tubelet_frames=2, tubelet_size=16)
starts = st.floats(0, 1) | st.just("centre")


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 80), stride=st.integers(1, 9), u=starts)
def test_a_stride_is_exact_in_source_frames(count: int, stride: int, u: float | str) -> None:
    stamps = np.cumsum(np.random.default_rng(count).uniform(0.01, 0.1, count))  # any rate, variable
    sampled = Sampling(stride=stride).times(stamps, CLIP, u)
    indices = [int(np.flatnonzero(stamps == time)[0]) for time in sampled.times]
    span = 3 * stride + 1
    assert sampled.short == (count < span)
    if sampled.short:
        assert indices == [min(k * stride, count - 1) for k in range(4)]  # repeats its last frame
    else:
        assert np.diff(indices).tolist() == [stride] * 3
        assert 0 <= indices[0] <= count - span


def test_every_start_is_drawn_and_none_twice_as_often() -> None:
    stamps = np.arange(20) / 10
    firsts = [Sampling(stride=2).times(stamps, CLIP, u).times[0] * 10 for u in (np.arange(1400) + 0.5) / 1400]
    counts = np.bincount(np.rint(firsts).astype(int), minlength=14)
    assert counts.tolist() == [100] * 14
    assert Sampling(stride=2).times(stamps, CLIP, 1.0).times[-1] == stamps[-1]
    assert Sampling(stride=2).times(stamps, CLIP, "centre").times[0] == pytest.approx(0.6)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(2, 80), fps=st.floats(5, 60), step=st.floats(5, 400), u=starts)
def test_a_step_in_time_shows_the_frame_of_each_moment(count: int, fps: float, step: float, u: float | str) -> None:
    stamps = np.arange(count) / fps
    sampled = Sampling(step_ms=step).times(stamps, CLIP, u)
    length, need = stamps[-1], 3 * step / 1000
    assert sampled.short == (length < need - 1e-6)
    first = 0.0 if sampled.short else (length - need) * (0.5 if u == "centre" else float(u))
    for k, time in enumerate(sampled.times):
        moment = min(first + k * step / 1000, length)
        assert time <= moment + 2e-6
        assert time > moment - 1 / fps - 1e-6


def test_a_step_in_time_is_the_same_at_every_rate() -> None:
    slow = Sampling(step_ms=200).times(np.arange(50) / 10, CLIP, "centre").times
    fast = Sampling(step_ms=200).times(np.arange(250) / 50, CLIP, "centre").times
    np.testing.assert_allclose(np.diff(slow), np.diff(fast), atol=1e-9)


def test_short_sources_are_repeated_stretched_or_refused() -> None:
    stamps = np.arange(5) / 10
    assert Sampling(stride=3, short="repeat").times(stamps, CLIP, 0.9).times.tolist() == [0.0, 0.3, 0.4, 0.4]
    stretched = Sampling(stride=3, short="stretch").times(stamps, CLIP, 0.9)
    assert stretched.short
    assert stretched.times.tolist() == stamps[[0, 1, 3, 4]].tolist()
    with pytest.raises(VideoError, match=r"sampling\.short=repeat"):
        Sampling(stride=3, short="refuse").times(stamps, CLIP, 0.9)
    assert not Sampling(stride=1, short="refuse").times(stamps, CLIP, 0.9).short


def test_stride_is_four_where_nothing_is_said_and_giving_both_is_an_error() -> None:
    assert Sampling().frames_apart == 4
    assert Sampling(step_ms=40).frames_apart is None
    with pytest.raises(RecipeError, match="exclude each other"):
        Sampling(stride=4, step_ms=40)
    for wrong in ({"stride": 0}, {"step_ms": 0.0}, {"step_ms": -1.0}):
        with pytest.raises(RecipeError):
            Sampling(**wrong)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 80), frames=st.integers(1, 16), u=starts, seed=st.none() | st.integers(0, 9))
def test_segments_take_one_frame_of_each_equal_part(count: int, frames: int, u: float | str, seed: int | None) -> None:
    stamps = np.cumsum(np.random.default_rng(count).uniform(0.01, 0.1, count))
    clip = Clip(frames=frames, size=16, tubelet_frames=1, tubelet_size=16)
    rng = None if seed is None else np.random.default_rng(seed)
    sampled = Segments().times(stamps, clip, u, rng)
    assert sampled.short == (count < frames)
    for k, index in enumerate(np.searchsorted(stamps, sampled.times)):
        assert np.floor(k * count / frames) <= index <= min(np.floor((k + 1) * count / frames), count - 1)
        if rng is None and u == "centre":
            assert index == min(int((k + 0.5) * count / frames), count - 1)


def test_segments_draw_every_frame_of_a_part_alike_and_views_move_all_of_them() -> None:
    stamps, rng = np.arange(40.0), np.random.default_rng(0)
    drawn = np.stack([Segments().times(stamps, CLIP, 0.5, rng).times for _ in range(4000)])
    for k in range(4):
        counts = np.bincount(drawn[:, k].astype(int) - 10 * k, minlength=10)
        assert counts.min() > 300
        assert len(counts) == 10
    assert Segments().times(stamps, CLIP, 0.0).times.tolist() == [0, 10, 20, 30]
    assert Segments().times(stamps, CLIP, 0.9).times.tolist() == [9, 19, 29, 39]
    assert Segments(jitter=0.0).times(stamps, CLIP, 0.9, rng).times.tolist() == [9, 19, 29, 39]
    with pytest.raises(RecipeError, match="leave out stride"):
        Segments(stride=4)


@pytest.mark.parametrize("step", [{"stride": 4}, {"step_ms": 400}])
def test_jitter_moves_frames_of_training_within_half_a_step_and_never_past_each_other(step: dict[str, float]) -> None:
    stamps, rng = np.arange(60) / 10, np.random.default_rng(0)
    still = Sampling(**step).times(stamps, CLIP, 0.5).times
    moved = [Sampling(**step, jitter=1.0).times(stamps, CLIP, 0.5, rng).times for _ in range(400)]
    away = np.stack(moved) - still
    assert (np.abs(away) < 0.2 + 1e-6).all()
    assert len(np.unique(np.rint(away * 10))) >= 4
    assert all((np.diff(times) >= 0).all() for times in moved)
    np.testing.assert_array_equal(Sampling(**step, jitter=1.0).times(stamps, CLIP, 0.5).times, still)
    with pytest.raises(RecipeError, match="from 0 to 1"):
        Sampling(jitter=1.5)
