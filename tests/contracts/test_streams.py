"""What holds of every stream beside a clip: its size, its name, its mask, and what fails with it."""

from dataclasses import replace

import chz
import numpy as np
import pytest

from support.small_tasks import SMALL, batch_of, recipe_of, small, task_of
from tubelet.config import override
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import RecipeError, VideoError
from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.loading.pairings import Drawn, Pairing, Same
from tubelet.maskers import MASKERS, Adaptive, Nothing, Random, Schedule
from tubelet.objectives import InstanceContrast, Pixels
from tubelet.recipes import RECIPES, crop_mae, cross_video_mae, lstcl, miniature, siam_mae, slow_fast
from tubelet.seeds import generator
from tubelet.streams import Stream
from tubelet.types import Budget, Clip
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video


@pytest.mark.parametrize("recipe", [one for one in RECIPES if one().streams], ids=lambda one: one.__name__)
def test_a_field_of_the_clip_moves_every_stream_that_does_not_say_its_own(recipe):
    config = override(recipe(), ["clip.size=96"])
    for stream in config.streams.values():
        if stream.signal is not None:  # of another signal, which says its own size
            assert stream.clip(config.clip) == stream.signal
            continue
        assert stream.clip(config.clip).size == 96
        assert stream.clip(config.clip).frames == (stream.frames or config.clip.frames)


def test_no_stream_has_the_name_of_the_clip_itself():
    with pytest.raises(RecipeError, match=r"streams\.clip: this name is that of the clip itself"):
        recipe_of({"pixels": small(Pixels)}, streams={"clip": Stream()})


def test_only_the_clips_own_masker_may_learn():
    config = recipe_of({"views": InstanceContrast()}, streams={"second": Stream(masker=Adaptive(ratio=0.5))})
    with pytest.raises(
        RecipeError, match=r"streams\.second\.masker=Adaptive learns, and only the clip's own masker may"
    ):
        task_of(config)


def test_one_decoder_predicts_streams_of_equal_clips_alone():
    config = recipe_of(
        {"pixels": small(Pixels, on=("clip", "second"))}, streams={"second": Stream(masker=Random(), frames=2)}
    )
    with pytest.raises(RecipeError, match=r"on=clip,second: one decoder predicts streams of equal clips"):
        task_of(config)


def test_nothing_is_hidden_by_one_masker_alone_which_is_not_listed():
    budget = Nothing().budget(SMALL)
    assert (budget.hidden, budget.total) == (0, 0)
    assert Nothing not in MASKERS
    with pytest.raises((RecipeError, ValueError)):
        Budget(0, "clip", SMALL.grid)


def test_a_streams_mask_is_of_the_moment_of_training_that_its_clip_is_in():
    masker = Schedule(first=Random(ratio=0.25), last=Random(ratio=0.75))
    config = recipe_of({"pixels": small(Pixels, on=("second",))}, streams={"second": Stream(masker=masker)})
    task, batch = task_of(config), batch_of(config)
    for progress, hidden in ((0.0, 8), (0.5, 16), (1.0, 24)):
        second = task.look(replace(batch, progress=progress, step=7)).of("second")
        assert second.mask.hidden.shape[1] == hidden
        assert (second.batch.progress, second.batch.step) == (progress, 7)


@chz.chz
class Torn(Pairing):
    """Its frames of one video cannot be read."""

    def shot(self, drawn: Drawn, clip: Clip, rng):
        if len(drawn.timestamps) == 12:
            raise VideoError("torn")
        return Same().shot(drawn, clip, rng)


def test_a_clip_whose_stream_cannot_be_read_fails_whole_and_by_name(tmp_path):
    rows, rng = [], np.random.default_rng(0)
    for count in (10, 12, 14):
        path = tmp_path / f"{count}.mp4"
        write_video(path, rng.integers(0, 255, (count, 32, 32, 3), np.uint8), 10.0)
        rows.append(
            {
                "id": str(count), "path": path, "start": 0.0, "end": count / 10, "duration": count / 10, "fps": 10.0,
                "frames": count, "width": 32, "height": 32, "split": "train",
            }
        )  # fmt: skip
    corpus: Corpus = write_corpus(tmp_path / "corpus", "torn", rows, [])
    data, reads = Data(sampling=Sampling(stride=1)), {"second": Stream(pairing=Torn()).reads(SMALL)}
    batch = next(train_batches(corpus, SMALL, data, batch=3, seed=0, first_step=0, last_step=1, streams=reads))
    assert sorted(batch.ids) == sorted(batch.streams["second"].ids) == ["10", "14"]
    assert [name for name in batch.failed if name.startswith("12") and "torn" in name] == list(batch.failed)
    assert len(batch.failed) == 1


def test_siam_mae_shows_a_frame_whole_and_3_of_64_of_the_later_and_crop_mae_2():
    """And 9 of 196 and, at CropMAE's own .985, 2, as in the papers: counts of what is visible are floored."""
    for recipe, stream, visible, of_196 in ((siam_mae, "later", 3, 9), (crop_mae, "local", 2, 6)):
        config = recipe()
        assert config.masker.budget(config.clip).total == 0
        masker, clip = config.streams[stream].masker, config.streams[stream].clip(config.clip)
        assert clip.num_tubelets - masker.budget(clip).total == visible
        large = Clip(frames=1, size=224, tubelet_frames=1)
        assert large.num_tubelets - masker.budget(large).total == of_196
        assert config.objectives["pixels"].on == (stream,)
        assert config.objectives["pixels"].decoder.memory == "clip"
    published = chz.replace(crop_mae().streams["local"].masker, ratio=0.985)
    assert large.num_tubelets - published.budget(large).total == 2


def test_the_short_clip_of_lstcl_lies_in_the_middle_of_the_long_one():
    config, timestamps = lstcl(), np.arange(250) / 25
    for seed in range(20):
        rng = np.random.default_rng(seed)
        times = config.data.sampling.times(timestamps, config.clip, float(rng.random())).times
        drawn = Drawn(timestamps, times, Augment().draw(rng, 60, 80), 60, 80, config.clip, config.data.sampling)
        second = config.streams["second"]
        long = second.pairing.shot(drawn, second.clip(config.clip), generator(seed, "shot")).times
        if times[0] > 1 and times[-1] < 9:
            assert long[0] < times[0]
            assert times[-1] < long[-1]
            assert long[-1] - long[0] == pytest.approx(2 * (times[-1] - times[0]), abs=0.05)
            assert long[[0, -1]].mean() == pytest.approx(times[[0, -1]].mean(), abs=0.05)


def test_the_fast_frames_of_slow_fast_are_four_times_as_many_about_the_same_middle():
    config, timestamps = slow_fast(), np.arange(250) / 25
    fast = config.streams["fast"]
    for begin in (0.0, 0.3, 1.0):
        times = config.data.sampling.times(timestamps, config.clip, begin).times
        drawn = Drawn(
            timestamps, times, Augment().draw(generator(0, "a"), 60, 80), 60, 80, config.clip, config.data.sampling
        )
        found = fast.pairing.shot(drawn, fast.clip(config.clip), generator(0, "shot")).times
        assert len(found) == 4 * len(times)
        assert found[-1] - found[0] == pytest.approx(31 * (times[1] - times[0]) / 4, abs=0.05)
        if 0.3 <= begin < 1:
            assert found.mean() == pytest.approx(times.mean(), abs=0.05)


def test_the_frame_of_cross_video_mae_is_seen_by_an_encoder_of_its_own():
    config = cross_video_mae()
    frame = config.streams["frame"]
    assert frame.clip(config.clip).frames == 1
    assert type(frame.tower).__name__ == "Own"
    assert frame.tower.encoder == miniature().encoder
