import numpy as np
import pytest
import torch

from tubelet.errors import RecipeError
from tubelet.loading.pseudo_motion import PseudoMotion, in_motion


def clip_of(size=32, frames=6):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, frames, size, size)).astype(np.uint8))


def smooth(size=48):
    down, along = torch.meshgrid(*[torch.linspace(0, 6, size)] * 2, indexing="ij")
    return 100 + 50 * torch.stack([down.sin(), along.cos(), (down + along).sin()])


def test_every_frame_is_the_one_before_it_moved_in_the_same_way_and_the_middle_one_is_as_it_was():
    still = smooth()
    motion = PseudoMotion().motion(np.array([0.7, -0.6, 0.5, 0.8, -0.9]))
    clip = in_motion(still, motion, 6)
    assert torch.allclose(clip[:, 3], still, atol=1e-3)
    for number in range(5):
        moved = in_motion(clip[:, number], motion, 3)[:, 2]  # of three frames the second is the middle one
        inner = (slice(None), slice(12, -12), slice(12, -12))
        assert (moved - clip[:, number + 1])[inner].abs().max() < 1  # of 256; each was interpolated once more
        assert (clip[:, number] - clip[:, number + 1])[inner].abs().max() > 3


def test_a_shift_moves_by_its_share_of_the_frame_from_frame_to_frame():
    still = smooth()
    motion = PseudoMotion(shift=1 / 24).motion(np.array([0.0, 1.0, 0.0, 0.0, 0.0]))  # two of 48 columns
    clip = in_motion(still, motion, 4)
    assert torch.allclose(clip[:, 3, :, 2:-4], clip[:, 2, :, 4:-2], atol=1e-2)


def test_without_strengths_a_clip_is_one_of_its_own_frames_standing_still():
    frames = clip_of()
    made = PseudoMotion(share=1, zoom=0, shift=0, turn=0, shear=0).apply(frames, np.random.default_rng(1))
    assert any(torch.equal(made[:, 0], frames[:, number]) for number in range(6))
    assert (made == made[:, :1]).all()


def test_share_says_how_many_clips_are_in_pseudo_motion_and_the_others_are_as_they_were():
    frames, rng = clip_of(size=8), np.random.default_rng(0)
    kept = sum(torch.equal(PseudoMotion(share=0.25).apply(frames, rng), frames) for _ in range(200))
    assert 130 <= kept <= 170
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    PseudoMotion(share=0).apply(frames, one)
    PseudoMotion(share=1, mix=0).apply(frames, other)
    assert one.random() == other.random()  # what comes after is the same


def test_mixing_adds_a_second_motion_of_the_same_frame():
    frames = clip_of()
    alone, mixed = (PseudoMotion(share=1, mix=mix).apply(frames, np.random.default_rng(2)) for mix in (0.0, 1.0))
    middle = frames.shape[1] // 2
    assert torch.equal(alone[:, middle], mixed[:, middle])
    assert not torch.equal(alone[:, 0], mixed[:, 0])


@pytest.mark.parametrize(("name", "value"), [("share", 1.5), ("mix", -0.1), ("zoom", -1.0), ("turn", float("nan"))])
def test_strengths_that_mean_nothing_are_refused(name, value):
    with pytest.raises(RecipeError, match=rf"augment\.{name}=.* must be"):
        PseudoMotion(**{name: value})
