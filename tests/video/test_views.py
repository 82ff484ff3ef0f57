"""Views: pieces over the whole time, squares along the longer side, each with its number."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from support.bars import moving
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError
from tubelet.loading.data import Data
from tubelet.loading.loader import eval_batches
from tubelet.types import Clip
from tubelet.video.crop import Crop, crop_frames
from tubelet.video.reader import read_frames, timestamps
from tubelet.video.sampling import Sampling
from tubelet.video.views import CENTRE, View, parse, spread
from tubelet.video.writer import write_video

CLIP = Clip(frames=4, size=32)


def test_five_pieces_times_three_squares_reach_both_ends():
    views = parse("5x3")
    assert len(views) == len(set(views)) == 15
    assert [view.time for view in views[::3]] == [0, 0.25, 0.5, 0.75, 1]
    assert [view.index for view in views[:3]] == [0, 0.5, 1]
    assert spread(1, 1) == (CENTRE,)
    assert View(None, 0.5) in spread(1, 3)


@pytest.mark.parametrize("words", ["5", "x3", "0x3", "5x", "5x3x2", "-1x3", "axb"])
def test_other_words_are_refused(words):
    with pytest.raises(RecipeError, match="5x3"):
        parse(words)


def test_each_view_is_its_piece_and_its_square(corpus: Corpus):
    views = parse("2x3")
    data = Data(sampling=Sampling(stride=2))
    videos = corpus.select()[:2]
    [batch] = eval_batches(corpus, videos, CLIP, data, batch=12, views=views)
    assert batch.ids == tuple(video.id for video in videos for _ in views)
    assert batch.view is not None
    assert batch.view.tolist() == 2 * list(range(6))
    for index, (name, view) in enumerate(zip(batch.ids, batch.view.tolist(), strict=True)):
        video = next(video for video in videos if video.id == name)
        times = timestamps(video.path)
        first = 0 if views[view].time == 0 else max(len(times) - 7, 0)
        frames = read_frames(video.path, times[np.minimum(first + 2 * np.arange(4), len(times) - 1)])
        left = {0: 0, 0.5: 4, 1: 8}[views[view].index]  # 48 wide, 40 high
        want = crop_frames(frames, Crop.of_pixels(0, left, 40, 40, 40, 48), 32)
        assert torch.equal(batch.video[index], want)


def test_the_squares_of_a_high_video_go_down(tmp_path):
    path = tmp_path / "high.mp4"
    write_video(path, moving(6, 48, 32), 10.0)
    assert [Crop.along(48, 32, index).pixels(48, 32) for index in (0.0, 0.5, 1.0)] == [
        (0, 0, 32, 32), (8, 0, 32, 32), (16, 0, 32, 32),
    ]  # fmt: skip


def test_the_one_view_is_the_middle_and_a_batch_holds_whole_videos(corpus: Corpus):
    data = Data(sampling=Sampling(stride=2))
    one = list(eval_batches(corpus, corpus.select(), CLIP, data, batch=4))
    again = list(eval_batches(corpus, corpus.select(), CLIP, data, batch=4, views=(CENTRE,)))
    assert [batch.ids for batch in one] == [batch.ids for batch in again]
    assert all(torch.equal(a.video, b.video) for a, b in zip(one, again, strict=True))
    sizes = [len(batch) for batch in eval_batches(corpus, corpus.select(), CLIP, data, batch=4, views=parse("2x3"))]
    assert sizes == 10 * [6]  # not less than a whole video


def test_a_video_that_cannot_be_read_has_no_view(corpus: Corpus, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    videos = corpus.select()[:3]
    videos = [videos[0], replace(videos[1], path=bad), videos[2]]
    data = Data(sampling=Sampling(stride=2))
    [batch] = eval_batches(corpus, videos, CLIP, data, batch=18, views=parse("2x3"))
    assert set(batch.ids) == {videos[0].id, videos[2].id}
    assert len(batch.failed) == 1
    assert batch.failed[0].startswith(f"{videos[1].id}: ")
