"""What every listed pairing promises, and that no stream changes what is there without it.

A pairing is tested by being listed in `tubelet.loading.pairings.PAIRINGS`.
"""

import sys
from dataclasses import FrozenInstanceError, replace

import chz
import numpy as np
import pytest
import torch

from support.small_tasks import SMALL, batch_of, recipe_of, small, task_of
from tubelet.config import from_plain, override, to_plain
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import RecipeError
from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.loading.finetune_augment import FinetuneAugment
from tubelet.loading.loader import eval_batches, train_batches
from tubelet.loading.pairings import PAIRINGS, Again, Apart, Drawn, Inside, Pairing, Same, Scrambled, Still
from tubelet.maskers import Random
from tubelet.models.patches import cut
from tubelet.objectives import InstanceContrast, Pixels
from tubelet.recipes.pretrain import Pretrain
from tubelet.seeds import generator
from tubelet.streams import Own, Stream
from tubelet.teachers import Momentum
from tubelet.types import Clip
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

every_pairing = pytest.mark.parametrize("pairing_class", PAIRINGS, ids=lambda c: c.__name__)
SAMPLING = Sampling(stride=2)
SHORTER = Clip(frames=2, size=32, tubelet_size=8)
FPS = 25.0


def drawn(seed=0, frames=250, height=60, width=80) -> Drawn:
    """A clip of four frames somewhere in ten seconds, and its crop."""
    rng = np.random.default_rng(seed)
    timestamps = np.arange(frames) / FPS
    times = SAMPLING.times(timestamps, SMALL, float(rng.random())).times
    crop = Augment(smallest=0.3, flip=True).draw(rng, height, width)
    return Drawn(timestamps, times, crop, height, width, SMALL, SAMPLING)


def shots(pairing: Pairing, clip: Clip = SMALL, count: int = 50):
    for seed in range(count):
        source = drawn(seed)
        yield source, pairing.shot(source, clip, generator(seed, "shot"))


@every_pairing
@pytest.mark.parametrize("clip", [SMALL, SHORTER], ids=["as many", "fewer"])
def test_it_reads_as_many_frames_as_the_stream_has_of_those_that_are_there_inside_the_frame(pairing_class, clip):
    for source, shot in shots(pairing_class(), clip):
        assert shot.times.shape == (clip.frames,)
        assert np.isin(shot.times, source.timestamps).all()
        assert (np.diff(shot.times) >= 0).all() or pairing_class is Scrambled
        top, left, rows, columns = shot.crop.pixels(source.height, source.width)
        assert 0 <= top < top + rows <= source.height
        assert 0 <= left < left + columns <= source.width


@every_pairing
def test_a_shot_is_a_function_of_its_generator_and_of_nothing_else(pairing_class):
    source, pairing = drawn(), pairing_class()
    one, same = (pairing.shot(source, SMALL, generator(3, "shot")) for _ in range(2))
    assert (one.times == same.times).all()
    assert one.crop == same.crop
    middle, again = (pairing.shot(source, SMALL, None) for _ in range(2))
    assert (middle.times == again.times).all()
    assert middle.crop == again.crop
    assert middle.augment is None, "an evaluation changes nothing"


def test_same_reads_the_very_same_frames():
    for source, shot in shots(Same()):
        assert (shot.times == source.times).all()
        assert shot.crop == source.crop
        assert shot.augment is None


@pytest.mark.parametrize("pace", [0.5, 1.0, 2.0])
def test_same_at_another_pace_keeps_the_middle_and_multiplies_the_step(pace):
    for source, shot in shots(Same(pace=pace)):
        assert np.diff(shot.times).mean() == pytest.approx(pace * np.diff(source.times).mean(), abs=1 / FPS)
        if source.times[0] > 1 and source.times[-1] < 9:
            assert shot.times.mean() == pytest.approx(source.times.mean(), abs=1 / FPS)


def test_inside_shows_a_share_of_the_clips_own_crop_and_nothing_beside_it():
    for source, shot in shots(Inside(smallest=0.3, largest=0.6)):
        top, left, rows, columns = source.crop.pixels(source.height, source.width)
        down, across, high, wide = shot.crop.pixels(source.height, source.width)
        assert top <= down <= down + high <= top + rows
        assert left <= across <= across + wide <= left + columns
        assert 0.25 < high * wide / (rows * columns) < 0.67, "whole pixels"
        assert (shot.times == source.times).all()
        assert shot.crop.flip == source.crop.flip


def test_inside_mirrors_every_other_crop_whatever_the_clip_does():
    turned = [shot.crop.flip != source.crop.flip for source, shot in shots(Inside(flip=True), count=200)]
    assert 70 < sum(turned) < 130
    agree = [source.crop.flip == other for (source, _), other in zip(shots(Inside(), count=200), turned, strict=True)]
    assert 70 < sum(agree) < 130


@pytest.mark.parametrize("order", ["before", "after", "any"])
def test_apart_keeps_its_seconds_where_the_video_reaches_so_far(order):
    gaps = []
    for source, shot in shots(Apart(least=0.5, most=1.5, order=order), count=200):
        gap = shot.times.mean() - source.times.mean()
        if source.times[0] > 2 and source.times[-1] < 8:
            assert 0.5 - 1 / FPS <= abs(gap) <= 1.5 + 1 / FPS
            gaps.append(gap)
        assert abs(gap) <= 1.5 + 1 / FPS, "never farther"
        assert shot.crop == source.crop
    assert len(gaps) > 50
    before = np.mean([gap < 0 for gap in gaps])
    assert {"before": before == 1, "after": before == 0, "any": 0.3 < before < 0.7}[order]
    assert np.std(np.abs(gaps)) > 0.2


def test_apart_with_a_crop_of_its_own_draws_and_augments_as_it_is_told():
    augment = FinetuneAugment(smallest=0.1)
    crops = [(source.crop, shot) for source, shot in shots(Apart(own_crop=True, augment=augment))]
    assert all(crop != shot.crop and shot.augment == augment for crop, shot in crops)


def test_still_repeats_one_frame_of_the_clip():
    seen = set()
    for source, shot in shots(Still(), count=100):
        assert (shot.times == shot.times[0]).all()
        seen.add(int(np.flatnonzero(source.times == shot.times[0])[0]))
        assert shot.crop == source.crop
    assert seen == {0, 1, 2, 3}
    for at, index in ((0.0, 0), (0.5, 2), (1.0, 3)):
        assert Still(at=at).shot(drawn(), SMALL, None).times[0] == drawn().times[index]


def test_again_is_the_same_moment_in_another_crop():
    for source, shot in shots(Again(augment=Augment(smallest=0.2))):
        assert (shot.times == source.times).all()
        assert shot.crop != source.crop


@every_pairing
def test_a_recipe_keeps_it_and_words_name_it(pairing_class):
    config = recipe_of({"pixels": small(Pixels)}, streams={"second": Stream(pairing=pairing_class())})
    assert from_plain(Pretrain, to_plain(config), "recipe.json") == config
    with pytest.raises(FrozenInstanceError):
        config.streams["second"].pairing.anything = 1
    one = recipe_of({"pixels": small(Pixels)})
    words = ["streams.later=Stream", f"streams.later.pairing={pairing_class.__name__}", "streams.later.masker=Random"]
    changed = override(one, [*words, "streams.later.masker.ratio=0.95", "streams.later.size=48"])
    assert changed.streams["later"] == Stream(pairing=pairing_class(), masker=Random(ratio=0.95), size=48)
    with pytest.raises(RecipeError, match=r"did you mean streams\.later\.masker\.ratio\?"):
        override(changed, ["streams.later.masker.raito=0.5"])


@every_pairing
def test_its_file_says_what_it_reads(pairing_class):
    assert sys.modules[pairing_class.__module__].__doc__.startswith(pairing_class.__name__)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Same(pace=0.0), r"pairing\.pace=0 must be positive"),
        (lambda: Inside(smallest=0.0), "shares of the crop"),
        (lambda: Apart(least=2.0, most=1.0), "0 <= least <= most"),
        (lambda: Still(at=2.0), "from 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(RecipeError, match=said):
        make()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """Five short videos and one of 70 seconds, of which only a part is read."""
    folder = tmp_path_factory.mktemp("pairings")
    rng = np.random.default_rng(0)
    rows = []
    for number, count in enumerate((20, 20, 24, 30, 20, 350)):
        frames = rng.integers(0, 255, (count, 6, 8, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
        write_video(folder / f"{number}.mp4", frames, 5.0)
        rows.append(
            {
                "id": str(number), "path": folder / f"{number}.mp4", "start": 0.0, "end": count / 5,
                "duration": count / 5, "fps": 5.0, "frames": count, "width": 64, "height": 48, "split": "train",
            }
        )  # fmt: skip
    return write_corpus(folder / "corpus", "pairs", rows, [])


def batches(corpus, streams, augment=None, **more):
    reads = {name: stream.reads(SMALL) for name, stream in streams.items()}
    data = Data(sampling=SAMPLING, augment=augment or Augment(smallest=0.3), **more)
    return list(train_batches(corpus, SMALL, data, batch=3, seed=7, first_step=0, last_step=6, streams=reads))


@pytest.mark.parametrize("cache", [False, True])
@every_pairing
def test_no_stream_changes_a_clip_or_another_stream(pairing_class, cache, corpus):
    alone = batches(corpus, {}, cache=cache)
    first = {"first": Stream(pairing=Apart(most=20.0))}
    one = batches(corpus, first, cache=cache)
    two = batches(corpus, {"second": Stream(pairing=pairing_class(), size=48), **first}, cache=cache)
    for plain_batch, single, double in zip(alone, one, two, strict=True):
        for other in (single, double):
            assert torch.equal(other.video, plain_batch.video)
            assert torch.equal(other.key, plain_batch.key)
            assert other.ids == plain_batch.ids
        assert torch.equal(double.streams["first"].video, single.streams["first"].video)
        assert double.streams["second"].video.shape == (len(double), 3, 4, 48, 48)
        assert torch.equal(double.streams["second"].key, double.key)


def test_the_frames_of_same_are_the_clips_own_to_the_bit(corpus):
    for batch in batches(corpus, {"second": Stream(pairing=Same())}):
        assert torch.equal(batch.streams["second"].video, batch.video)


def test_a_stream_changes_with_the_epoch_and_with_its_name(corpus):
    streams = {name: Stream(pairing=Again(augment=Augment(smallest=0.1))) for name in ("one", "other")}
    found = batches(corpus, streams)
    clips = {
        (b.ids[i], part.video[i].numpy().tobytes()) for b in found for part in b.streams.values() for i in range(3)
    }
    assert len(clips) == 2 * 18


def test_an_evaluation_reads_streams_that_hold_still(corpus):
    reads = {"second": Stream(pairing=Apart(own_crop=True, augment=FinetuneAugment())).reads(SMALL)}

    def read():
        return next(eval_batches(corpus, corpus.videos, SMALL, Data(sampling=SAMPLING), batch=6, streams=reads))

    assert torch.equal(read().streams["second"].video, read().streams["second"].video)


def test_no_stream_and_no_teacher_changes_a_mask_a_token_or_a_fresh_weight():
    alone = recipe_of({"pixels": small(Pixels)})
    streams = {"second": Stream(masker=Random(ratio=0.25)), "third": Stream(tower=Own(encoder=alone.encoder))}
    beside = recipe_of({"pixels": small(Pixels)}, streams=streams, teacher=Momentum())
    task, more = task_of(alone), task_of(beside)
    fresh = more.state_dict()
    assert fresh.keys() - task.state_dict().keys() == {
        name for name in fresh if name.startswith(("towers.", "teacher."))
    }
    for name, value in task.state_dict().items():
        assert torch.equal(fresh[name], value), name
    seen, other = task.look(batch_of(alone)), more.look(batch_of(beside))
    for field in ("visible", "hidden", "decode"):
        assert torch.equal(getattr(seen.mask, field), getattr(other.mask, field))
    assert torch.equal(seen.tokens, other.tokens)
    changed = task_of(chz.replace(beside, streams={**beside.streams, "third": Stream(masker=Random(ratio=0.75))}))
    second = changed.look(batch_of(beside)).of("second")
    assert torch.equal(second.mask.visible, other.of("second").mask.visible)
    assert torch.equal(second.tokens, other.of("second").tokens)


def test_two_streams_of_one_masker_hide_different_tubelets():
    config = recipe_of(
        {"pixels": small(Pixels)}, streams={name: Stream(masker=Random(ratio=0.5)) for name in ("a", "b")}
    )
    seen = task_of(config).look(batch_of(config))
    masks = [seen.mask.hidden, seen.of("a").mask.hidden, seen.of("b").mask.hidden]
    assert len({mask.numpy().tobytes() for mask in masks}) == 3


def test_a_stream_that_is_encoded_by_the_clips_encoder_has_the_tokens_of_its_own_pixels():
    config = recipe_of({"views": InstanceContrast()}, streams={"second": Stream()})
    task, batch = task_of(config), batch_of(config)
    second = task.look(batch).of("second")
    assert torch.equal(second.tokens, task.encoder.encode(batch.streams["second"].video))
    assert torch.equal(second.tubelets, cut(batch.streams["second"].video, SMALL))
    moved = task.look(replace(batch, video=255 - batch.video)).of("second")
    assert torch.equal(moved.tokens, second.tokens)
