"""Frames whose timestamps repeat or run backwards are shown in the order in which FFmpeg gives them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubelet.video.order import in_order

UNIT = 1 / 90_000
STEP = 3600  # 25 frames a second


def shown(*stamps: int) -> list[int]:
    return in_order(np.array(stamps, dtype=np.int64), UNIT).tolist()


def test_times_that_ascend_stay_as_they_are() -> None:
    assert shown(0, 3600, 9000) == [0, 3600, 9000]


def test_frames_that_name_packets_nearby_are_put_in_order() -> None:
    assert shown(0, 10800, 7200, 14400, 3600) == [0, 3600, 7200, 10800, 14400]


def test_frames_of_one_time_follow_each_other_at_once() -> None:
    assert shown(0, 3600, 3600, 7200) == [0, 3600, 3601, 7200]


@pytest.mark.parametrize("begin", [0, 1800, -90_000])
def test_a_recording_that_begins_anew_follows_the_one_before_it(begin: int) -> None:
    first, second = STEP * np.arange(40), begin + STEP * np.arange(30)
    assert in_order(np.concatenate([first, second]), UNIT).tolist() == (STEP * np.arange(70)).tolist()


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=60))
def test_every_frame_has_a_time_of_its_own(stamps: list[int]) -> None:
    found = in_order(np.array(stamps, dtype=np.int64), UNIT)
    assert len(found) == len(stamps)
    assert (np.diff(found) > 0).all()
