"""Several clips of one decoded piece: they share frames, not crops, and an epoch counts each."""

import chz
import pytest
import torch

from tubelet.errors import RecipeError
from tubelet.loading.augment import Augment
from tubelet.loading.data import Data
from tubelet.loading.loader import train_batches
from tubelet.loading.requests import training_requests
from tubelet.recipes import miniature, st_mae
from tubelet.types import Clip
from tubelet.video.sampling import Sampling

CLIP = Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16)


def batches(corpus, repeats, size=8):
    data = Data(sampling=Sampling(stride=3), augment=Augment(repeats=repeats))
    return list(train_batches(corpus, CLIP, data, batch=size, seed=7, first_step=0, last_step=5))


def test_repeats_share_their_frames_and_neither_their_crop_nor_their_key(corpus):
    for batch in batches(corpus, 4):
        for first in (0, 4):
            assert len(set(batch.ids[first : first + 4])) == 1
        assert batch.ids[0] != batch.ids[4]
        assert len(set(batch.key.tolist())) == 8
        assert len({clip.numpy().tobytes() for clip in batch.video}) == 8
    pieces = training_requests(
        corpus.select("train"), 3, size=8, seed=7, rank=0, world=1, augment=Augment(repeats=4), sampling=Sampling()
    )
    assert [len(piece.clips) for piece in pieces] == [4, 4], "each piece is decoded once"


def test_the_first_clip_of_a_piece_is_the_only_one_without_repeats(corpus):
    alone = [clip for batch in batches(corpus, 1, size=2) for clip in batch.video]
    first = [clip for batch in batches(corpus, 4) for clip in batch.video[[0, 4]]]
    assert all(torch.equal(one, other) for one, other in zip(alone, first, strict=True))


def test_an_epoch_counts_every_repeat():
    base = chz.replace(miniature(), steps=None, epochs=2.0, batch=32)
    augment = chz.replace(base.data.augment, repeats=4)
    repeated = chz.replace(base, data=chz.replace(base.data, augment=augment))
    assert base.total(400, 1) == 25
    assert repeated.total(400, 1) == 100
    assert repeated.total(400, 2) == 50
    assert chz.replace(repeated, epochs=None, steps=7).total(400, 1) == 7
    assert st_mae().data.augment.repeats == 4


def test_fewer_than_one_is_refused():
    with pytest.raises(RecipeError, match=r"augment\.repeats=0 must be 1 or more"):
        Augment(repeats=0)
