"""The augmentation of fine-tuning: erased rectangles, several clips of one piece, whole clips changed alike."""

import chz
import numpy as np
import pytest
import torch

from support.bars import moving
from tubelet.corpus.write import write_corpus
from tubelet.errors import RecipeError
from tubelet.loading.data import Data
from tubelet.loading.finetune_augment import FinetuneAugment, erased
from tubelet.loading.loader import train_batches
from tubelet.loading.randaugment import RandAugment
from tubelet.types import Clip
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

CLIP = Clip(frames=4, size=32)


def test_one_rectangle_of_all_frames_is_erased_by_noise_of_the_mean_of_pictures():
    frames = torch.zeros(3, 8, 64, 64, dtype=torch.uint8)
    shares = []
    for seed in range(60):
        changed = erased(frames, np.random.default_rng(seed))
        touched = (changed != 0).any(0)  # t h w
        rows, columns = touched.any(0).any(1).nonzero().flatten(), touched.any(0).any(0).nonzero().flatten()
        inside = changed[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].float()
        assert touched.sum() > 0.9 * inside[0].numel()  # nearly all: noise may be 0 in all colours by chance
        assert touched.any(0).sum() == inside[0, 0].numel()
        assert not torch.equal(inside[:, 0], inside[:, 1])  # new noise in every frame
        shares.append(inside[0, 0].numel() / 64**2)
        if inside[0].numel() > 4000:
            mean = inside.flatten(1).mean(1) / 255
            torch.testing.assert_close(mean, torch.tensor([0.485, 0.456, 0.406]), atol=0.04, rtol=0)
    assert 0.015 < min(shares) < 0.1
    assert 0.25 < max(shares) < 0.36


def test_a_quarter_of_the_clips_is_erased():
    frames = torch.full((3, 2, 32, 32), 7, dtype=torch.uint8)
    augment = FinetuneAugment(randaugment=RandAugment(layers=0))
    changed = [not torch.equal(augment.apply(frames, np.random.default_rng(seed)), frames) for seed in range(400)]
    assert np.mean(changed) == pytest.approx(0.25, abs=0.07)


def test_a_still_clip_stays_still_under_randaugment():
    still = torch.randint(0, 255, (3, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augment = FinetuneAugment(erase=0.0, randaugment=RandAugment(probability=1.0))
    for seed in range(10):
        changed = augment.apply(still.expand(3, 4, 32, 32), np.random.default_rng(seed))
        assert changed.shape == (3, 4, 32, 32)
        for frame in range(1, 4):
            assert torch.equal(changed[:, frame], changed[:, 0])


def batches(corpus, augment, batch=4):
    data = Data(sampling=Sampling(stride=1), augment=augment)
    return list(train_batches(corpus, CLIP, data, batch=batch, seed=3, first_step=0, last_step=6))


def test_repeated_augmentation_takes_each_video_so_often_in_a_row_each_time_otherwise(corpus):
    for batch in batches(corpus, FinetuneAugment(repeats=2)):
        assert batch.ids[::2] == batch.ids[1::2]
        assert len(set(batch.ids)) == 2
        assert len(batch.key.unique()) == 4
        assert not torch.equal(batch.video[0], batch.video[1])


def test_copies_show_the_same_piece_of_the_video(tmp_path):
    """Of a square video of which nothing is cropped, the copies are equal: one piece was decoded for both."""
    write_video(tmp_path / "square.mp4", moving(20, 32, 32), 10.0)
    square = write_corpus(
        tmp_path, "square", [{"id": "square", "path": tmp_path / "square.mp4", "end": 2.0, "split": "train"}]
    )
    plain = FinetuneAugment(smallest=1.0, aspect=1.0, erase=0.0, randaugment=RandAugment(layers=0), repeats=2)
    found = batches(square, plain, batch=2)
    for batch in found:
        assert torch.equal(batch.video[0], batch.video[1])
    assert len({batch.video[0].numpy().tobytes() for batch in found}) > 1


def test_an_epoch_of_copies_shows_every_video_so_often(corpus):
    ids = [name for batch in batches(corpus, FinetuneAugment(repeats=3), batch=5) for name in batch.ids]
    assert sorted(ids) == sorted(3 * [video.id for video in corpus.select("train")])


def test_copies_that_fall_into_two_batches_are_those_of_one_batch(corpus):
    whole = torch.cat([batch.video for batch in batches(corpus, FinetuneAugment(repeats=2), batch=4)])
    cut = torch.cat([batch.video for batch in batches(corpus, FinetuneAugment(repeats=2), batch=3)])
    assert torch.equal(whole[:18], cut)


def test_clips_are_the_same_with_workers_and_from_a_later_step(corpus):
    data = Data(sampling=Sampling(stride=1), augment=FinetuneAugment(repeats=2))
    here = list(train_batches(corpus, CLIP, data, batch=4, seed=3, first_step=0, last_step=4))
    other = chz.replace(data, workers=2)
    there = list(train_batches(corpus, CLIP, other, batch=4, seed=3, first_step=2, last_step=4))
    for one, other in zip(here[2:], there, strict=True):
        assert torch.equal(one.video, other.video)


def test_shares_are_refused_where_they_are_none():
    with pytest.raises(RecipeError, match=r"augment\.erase"):
        FinetuneAugment(erase=1.5)
    with pytest.raises(RecipeError, match=r"augment\.repeats"):
        FinetuneAugment(repeats=0)
