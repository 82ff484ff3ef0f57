import numpy as np
import pytest

from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.loading.loader import eval_batches, train_batches
from tubelet.loading.pairings import Drawn, Reads, Scrambled
from tubelet.types import Clip
from tubelet.video.crop import Crop
from tubelet.video.sampling import Sampling

CLIP = Clip(frames=8, size=32)
CROP = Crop(0.1, 0.2, 0.5, 0.5)


def drawn_of(frames=8):
    all_times = np.arange(40) / 10
    return Drawn(all_times, all_times[5 : 5 + 2 * frames : 2], CROP, 48, 40, CLIP, Sampling(stride=2))


def shots(pairing, count=50, frames=8):
    clip = Clip(frames=frames, size=32)
    return [pairing.shot(drawn_of(frames), clip, np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("frames", [2, 4, 8])
def test_shuffled_frames_are_those_of_the_clip_each_once_and_never_in_its_order(frames):
    for shot in shots(Scrambled(), frames=frames):
        np.testing.assert_array_equal(np.sort(shot.times), drawn_of(frames).times)
        assert not np.array_equal(shot.times, drawn_of(frames).times)
        assert shot.crop == CROP
        assert shot.augment is None


def test_a_repeated_frame_is_one_of_the_clip_and_each_of_them_comes():
    found = {float(time) for shot in shots(Scrambled(how="repeat")) for time in shot.times}
    assert all(len(set(shot.times)) == 1 for shot in shots(Scrambled(how="repeat")))
    assert found == set(drawn_of().times)


def test_with_an_augmentation_it_has_a_crop_of_its_own():
    augment = Augment(smallest=0.2, largest=0.3)
    crops = {shot.crop for shot in shots(Scrambled(augment=augment), 5)}
    assert len(crops) == 5
    assert CROP not in crops


def test_without_a_key_it_is_one_and_the_same():
    for how in ("shuffle", "repeat"):
        once, again = (Scrambled(how=how, augment=Augment()).shot(drawn_of(), CLIP, None) for _ in range(2))
        np.testing.assert_array_equal(once.times, again.times)
        assert once.augment is None


@pytest.mark.parametrize("cache", [False, True])
def test_the_pixels_that_are_read_are_the_clip_s_own_in_that_order(corpus, cache):
    data = Data(sampling=Sampling(stride=1), cache=cache)
    streams = {"mixed": Reads(CLIP, Scrambled()), "still": Reads(CLIP, Scrambled(how="repeat"))}
    batches = list(train_batches(corpus, CLIP, data, batch=4, seed=0, first_step=0, last_step=2, streams=streams))
    batches += eval_batches(corpus, corpus.select("train"), CLIP, data, batch=4, streams=streams)
    for batch in batches:
        for clip, mixed, still in zip(batch.video, batch.of("mixed").video, batch.of("still").video, strict=True):
            frames = [frame.tobytes() for frame in clip.transpose(0, 1).numpy()]
            assert sorted(frame.tobytes() for frame in mixed.transpose(0, 1).numpy()) == sorted(frames)
            (one,) = {frame.tobytes() for frame in still.transpose(0, 1).numpy()}
            assert one in frames
