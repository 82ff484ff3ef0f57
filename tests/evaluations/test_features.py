"""Features of real files: what they are, how failures are counted, and that they are computed once."""

from dataclasses import replace

import pytest
import torch

from tubelet.errors import CorpusError
from tubelet.evaluations import Context
from tubelet.evaluations.baselines import DifferenceImage, MeanImage, mean_image, untrained
from tubelet.evaluations.features import Extraction, extract
from tubelet.loading.loader import eval_batches
from tubelet.models.encoder import Vit
from tubelet.types import Clip


@pytest.fixture(scope="module")
def encoder(clip):
    torch.manual_seed(0)
    return Vit(width=32, depth=1, heads=2).build(clip)


def test_features_are_the_means_of_the_tokens_and_of_each_time_step(small, clip, data, encoder):
    features = extract(Extraction(encoder, small, clip, data, batch=7), "train")
    [batch] = eval_batches(small, small.select("train"), clip, data, batch=100)
    with torch.no_grad():
        tokens = encoder.encode(batch.video)
    assert features.ids == batch.ids
    torch.testing.assert_close(features.mean, tokens.mean(1), rtol=0, atol=1e-5)
    time_steps = torch.cat([tokens[:, :4].mean(1), tokens[:, 4:].mean(1)], 1)
    torch.testing.assert_close(features.temporal_concat, time_steps, rtol=0, atol=1e-5)


def test_corrupt_and_missing_clips_are_named_and_counted_and_nothing_takes_their_place(small, clip, data, encoder):
    context = Context(encoder, small, clip, data)
    features = context.features("test")
    counts = features.counts()
    assert (counts["used"], counts["failed"], counts["unlabelled"], counts["short"]) == (10, 2, 1, 1)
    assert sorted(line.split(":")[0] for line in features.failed) == ["clip 32", "gone"]
    assert all(line.split(": ", 1)[1] for line in features.failed)
    assert not {"clip 32", "gone"} & set(features.ids)
    assert len(features.ids) == len(set(features.ids)) == 11
    assert features.short == ("clip 30",)


def test_features_are_computed_once_and_kept_by_all_that_decides_them(small, clip, data, encoder, tmp_path):
    calls = []

    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.config = encoder, "counting"

        def encode(self, video):
            calls.append(len(video))
            return self.inner.encode(video)

    counting = Counting()
    first = Context(counting, small, clip, data, keep=tmp_path)
    features = first.features("test")
    assert first.features("test").ids == features.ids
    seen = sum(calls)
    again = Context(counting, small, clip, data, keep=tmp_path).features("test")
    assert sum(calls) == seen == 11
    assert torch.equal(again.temporal_concat, features.temporal_concat)
    assert (again.ids, again.groups, again.failed, again.short) == (
        features.ids, features.groups, features.failed, features.short
    )  # fmt: skip
    assert torch.equal(again.label, features.label)
    with torch.no_grad():
        encoder.norm.weight[0] += 1
    other = Context(counting, small, clip, data, keep=tmp_path).features("test")
    assert sum(calls) == 2 * seen
    assert not torch.equal(other.mean, features.mean)
    with torch.no_grad():
        encoder.norm.weight[0] -= 1


def test_the_encoder_is_left_in_the_mode_it_was_in(small, clip, data, encoder):
    encoder.train()
    extract(Extraction(encoder, small, clip, data), "train")
    assert encoder.training
    assert all(p.grad is None for p in encoder.parameters())


def test_a_glance_takes_a_fixed_choice_of_videos(small, clip, data, encoder):
    some = extract(Extraction(encoder, small, clip, data, limit=9), "train")
    assert len(some) == 9
    assert some.ids == extract(Extraction(encoder, small, clip, data, limit=9), "train").ids
    assert set(some.ids) <= set(extract(Extraction(encoder, small, clip, data, limit=12), "train").ids)


def test_a_split_that_is_not_there_is_one_line_that_names_those_that_are(small, clip, data, encoder):
    with pytest.raises(CorpusError, match=r"'validation'.*test, train"):
        extract(Extraction(encoder, small, clip, data), "validation")


def test_other_labels_take_the_place_of_the_tables(small, clip, data, encoder):
    labels = {video.id: "even" if video.row % 4 < 2 else "odd" for video in small.videos}
    features = Context(encoder, small, clip, data, labels=labels).features("test")
    assert features.classes == ("even", "odd")
    assert features.counts()["unlabelled"] == 0


def test_the_mean_image_is_the_mean_of_the_clip_and_its_time_steps_are_in_order(small, clip, data):
    baseline = mean_image(Context(Vit(width=32, depth=1, heads=2).build(clip), small, clip, data))
    features = baseline.features("train")
    [batch] = eval_batches(small, small.select("train"), clip, data, batch=100)
    blocks = batch.video.float().mean(2).unflatten(3, (16, 2)).unflatten(2, (16, 2)).mean((3, 5)) / 255  # b c 16 16
    grey = features.mean.unflatten(1, (16, 16, 3))
    torch.testing.assert_close(grey.mean((1, 2)), blocks.mean((2, 3)), rtol=0, atol=2e-3)
    change = (
        features.temporal_concat.unflatten(1, (2, -1)).mean(2).diff(dim=1).squeeze(1)
    )  # later time_step minus earlier one
    assert torch.equal(change > 0, features.label == features.classes.index("rises"))
    assert isinstance(baseline.encoder, MeanImage)


def test_the_difference_image_is_how_far_frames_are_from_the_one_before_and_zero_where_nothing_moves(clip):
    still = torch.randint(0, 255, (1, 3, 1, clip.size, clip.size), dtype=torch.uint8).expand(
        -1, -1, clip.frames, -1, -1
    )
    assert not DifferenceImage(clip).encode(still).any()
    video = torch.zeros(1, 3, clip.frames, clip.size, clip.size, dtype=torch.uint8)
    video[:, :, 1::2] = 51  # every frame by a fifth from the next, up and down: signed they would add up to nothing
    tokens = DifferenceImage(clip, side=4).encode(video)
    assert tokens.shape == (1, clip.grid[0], 4 * 4 * 3)
    torch.testing.assert_close(tokens, torch.full_like(tokens, 0.2))
    video[:, :, -clip.tubelet_frames :] = video[:, :, [-clip.tubelet_frames - 1]]  # the last time step stands still
    assert DifferenceImage(clip).encode(video)[0].mean(1).tolist()[-1] == 0
    frame = Clip(frames=1, size=clip.size, tubelet_frames=1, tubelet_size=clip.tubelet_size)
    assert not DifferenceImage(frame).encode(video[:, :, 1:2]).any()


def test_the_untrained_baseline_is_the_encoder_as_pretraining_begins(small, clip, data):
    from tubelet.recipes.pretrain import Pretrain
    from tubelet.runs.pretrain import fresh_task

    config = Pretrain(clip=clip, data=data, encoder=Vit(width=32, depth=1, heads=2), steps=1, seed=5)
    task = fresh_task(config, None)
    with torch.no_grad():
        trained = fresh_task(config, None)
        trained.encoder.norm.weight.fill_(3.0)
    context = Context(trained.encoder, small, clip, data, task=trained, seed=5)
    baseline = untrained(context)
    assert baseline.task is None
    for name, value in baseline.encoder.state_dict().items():
        assert torch.equal(value, task.encoder.state_dict()[name]), name
    assert not torch.equal(untrained(replace(context, seed=6)).encoder.embed.weight, task.encoder.embed.weight)
