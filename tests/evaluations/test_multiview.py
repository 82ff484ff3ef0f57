"""Multi-view testing: softmax then mean, keyed by id; nothing depends on the order of views or on padding."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.evaluations.multiview import merge, predict_views
from tubelet.video.views import parse

CLASSES = 4


def clips(seed: int, videos: int, views: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    scores = torch.randn(videos * views, CLASSES, generator=torch.Generator().manual_seed(seed)) * 4
    ids = [f"folder {video}/clip.mp4" for video in range(videos) for _ in range(views)]
    return ids, torch.arange(views).repeat(videos), scores


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 15), st.integers(0, 9))
def test_the_order_of_views_and_padding_change_nothing(seed, videos, views, padding):
    ids, numbers, scores = clips(seed, videos, views)
    want = merge(ids, numbers, scores)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed + 1)).tolist()
    order += order[:padding]  # a sampler of several processes begins again to fill the last batch
    shuffled = merge([ids[i] for i in order], numbers[order], scores[order])
    assert shuffled.keys() == want.keys()
    assert all(torch.equal(shuffled[name], want[name]) for name in want)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 6))
def test_it_is_the_mean_of_softmaxes_as_a_loop_has_it(seed, videos, views):
    ids, numbers, scores = clips(seed, videos, views)
    for name, probabilities in merge(ids, numbers, scores).items():
        own = [scores[i].exp() / scores[i].exp().sum() for i in range(len(ids)) if ids[i] == name]
        torch.testing.assert_close(probabilities, torch.stack(own).mean(0))
        torch.testing.assert_close(probabilities.sum(), torch.tensor(1.0))


def test_equal_stems_in_two_folders_are_two_videos():
    merged = merge(["a/clip.mp4", "b/clip.mp4"], torch.tensor([0, 0]), torch.tensor([[9.0, 0.0], [0.0, 9.0]]))
    assert [int(p.argmax()) for p in merged.values()] == [0, 1]


def test_views_of_files_are_merged_and_a_corrupt_one_is_named(small, clip, data):
    """A score that is the mean brightness of the first frame: it differs between pieces of a clip that brightens."""

    def scores(video: torch.Tensor) -> torch.Tensor:
        level = video[:, :, 0].float().mean((1, 2, 3)) / 64
        return torch.stack([level, 2 - level], 1)

    videos = [video for video in small.videos if video.split == "test"]
    one = {
        views: predict_views(scores, small, videos, clip, data, views=parse(views), batch=4) for views in ("1x1", "5x1")
    }
    for found in one.values():
        assert len(found.ids) == len(videos) - 2
        assert sorted(line.split(":")[0] for line in found.failed) == ["clip 32", "gone"]
        assert found.short == ("clip 30",)
    assert not torch.allclose(one["1x1"].probabilities, one["5x1"].probabilities)
    again = predict_views(scores, small, videos, clip, data, views=parse("5x1"), batch=100)
    torch.testing.assert_close(again.probabilities, one["5x1"].probabilities)
