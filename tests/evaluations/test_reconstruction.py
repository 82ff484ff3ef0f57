from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.corpus.table import normalise_text
from tubelet.errors import RecipeError
from tubelet.evaluations.base import Context
from tubelet.evaluations.pictures import keep_thumbnails, named_videos
from tubelet.evaluations.reconstruction import Reconstruction, nearest_visible
from tubelet.maskers import Masker, Random, Text, Tube
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Contrast, Pixels
from tubelet.reports.pictures import load_samples, load_thumbnails
from tubelet.reports.sheets import cut
from tubelet.stores.maps import MapsWriter
from tubelet.tasks import Pretraining
from tubelet.types import Budget, Clip, Mask


def context_of(small, clip, data, masker: Masker | None = None, weights: int = 0, **changes) -> Context:
    torch.manual_seed(weights)
    objectives = {"pixels": Pixels(decoder=Decoder(width=16, depth=1, heads=2))}
    masker = masker or Random(ratio=0.5)
    task = Pretraining(clip, Vit(width=32, depth=1, heads=2).build(clip), masker, objectives)
    return replace(Context(task.encoder, small, clip, data, task=task), **changes)


def targets(samples) -> np.ndarray:
    """The normalised truth of the scored tubelets, from the frames alone: float64 "s q t y x 3"."""
    found = []
    for frames, scored in zip(samples.frames, samples.scored, strict=True):
        pixels = cut(frames, samples)[scored].astype(np.float64) / 255
        flat = pixels.reshape(len(scored), -1, 3)
        mean, std = flat.mean(1), flat.std(1, ddof=1)
        found.append((pixels - mean[:, None, None, None]) / (std + 1e-6)[:, None, None, None])
    return np.stack(found)


def test_the_figures_are_those_of_the_kept_arrays(small, clip, data, tmp_path):
    result = Reconstruction(pictures=99).run(context_of(small, clip, data, folder=tmp_path))
    samples = load_samples(tmp_path)
    assert result.counts["test"]["used"] == len(samples) == 11
    target = targets(samples)
    loss = ((samples.prediction.astype(np.float64) - target) ** 2).mean()
    baseline = (target**2).mean()
    assert result.metrics["loss"].value == pytest.approx(loss, rel=2e-3)  # predictions are kept in half precision
    assert result.references["mean_prediction_loss"].value == pytest.approx(baseline, rel=1e-5)
    assert result.metrics["r2"].value == pytest.approx(1 - loss / baseline, abs=2e-3)
    copied = []
    for frames, near in zip(samples.frames, samples.nearest, strict=True):
        pixels = cut(frames, samples)[near].astype(np.float64)
        flat = pixels.reshape(len(near), -1, 3)
        mean, std = flat.mean(1)[:, None, None, None], flat.std(1, ddof=1)[:, None, None, None]
        copied.append((pixels - mean) / (std + 255e-6))
    assert result.references["copy_loss"].value == pytest.approx(((np.stack(copied) - target) ** 2).mean(), rel=1e-4)


def test_a_clip_that_cannot_be_read_is_named_and_counted(small, clip, data):
    result = Reconstruction().run(context_of(small, clip, data))
    assert result.counts["test"] == {"used": 11, "failed": 2, "short": 1, "groups": 6}
    assert [name.split(":")[0] for name in result.failed["test"]] == ["clip 32", "gone"]


def test_clips_and_masks_are_the_same_for_other_weights_seeds_and_batches(small, clip, data, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    Reconstruction(pictures=4).run(context_of(small, clip, data, folder=one))
    Reconstruction(pictures=4).run(context_of(small, clip, data, weights=1, seed=7, batch=3, folder=other))
    one, other = load_samples(one), load_samples(other)
    for name in ("ids", "frames", "hidden", "scored", "nearest", "mean_prediction_loss"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert not np.array_equal(one.prediction, other.prediction)


def test_measuring_changes_neither_the_weights_nor_the_mode(small, clip, data):
    context = context_of(small, clip, data)
    context.task.train()
    before = {name: value.clone() for name, value in context.task.state_dict().items()}
    Reconstruction().run(context)
    assert context.task.training
    assert all(torch.equal(before[name], value) for name, value in context.task.state_dict().items())


def test_clips_limits_how_many_are_measured_and_the_protocol_says_so(small, clip, data):
    result = Reconstruction(clips=5).run(context_of(small, clip, data, Tube(ratio=0.5)))
    counts = result.counts["test"]
    assert counts["used"] + counts["failed"] == 5
    assert "5 videos" in result.protocol["clips"]
    assert "Tube, 4 of 8 tubelets hidden" in result.protocol["mask"]


def test_without_a_folder_nothing_is_written(small, clip, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Reconstruction().run(context_of(small, clip, data))
    assert not list(tmp_path.iterdir())


def test_text_maps_and_the_caption_that_guided_the_mask_are_kept(small, clip, data, tmp_path):
    rng = np.random.default_rng(0)
    with MapsWriter(small, "text", "scalar", {"method": "test"}) as writer:
        for video in small.select("all"):
            for caption in small.captions_of(video):
                layers = rng.uniform(0, 1, (8, 2, 3)).astype(np.float32)
                writer.add(video, normalise_text(caption.text), layers, np.arange(8) / 8)
        writer.finish()
    context = context_of(small, clip, data, Text(ratio=0.5), folder=tmp_path)
    Reconstruction().run(context)
    samples = load_samples(tmp_path)
    time_steps, indices = 2, 4
    for name, caption, heat, hidden in zip(samples.ids, samples.captions, samples.text, samples.hidden, strict=True):
        video = next(video for video in small.videos if video.id == name)
        assert caption in [one.text for one in small.captions_of(video)]
        top = np.argsort(-heat.reshape(time_steps, indices), axis=1)[:, :2] + indices * np.arange(time_steps)[:, None]
        assert np.array_equal(np.sort(top.ravel()), hidden)


def test_an_encoder_alone_and_a_run_without_pixels_are_refused_in_one_line(small, clip, data):
    context = context_of(small, clip, data)
    with pytest.raises(RecipeError, match="pixels"):
        Reconstruction().run(replace(context, task=None))
    task = Pretraining(clip, context.encoder, Tube(ratio=0.5), {"contrast": Contrast()}, text_width=8)
    with pytest.raises(RecipeError, match="pixels"):
        Reconstruction().run(replace(context, task=task))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([(2, 3, 3), (4, 2, 2), (3, 4, 4)]), st.data())
def test_the_nearest_visible_tubelet_is_that_of_a_search_over_all(grid, draw):
    time_steps, side, _ = grid
    clip = Clip(frames=2 * time_steps, size=16 * side, tubelet_frames=2, tubelet_size=16)
    total = clip.num_tubelets
    budget = Budget(draw.draw(st.integers(1, total - 1)), "clip", clip.grid)
    seed = draw.draw(st.integers(0, 1000))
    mask = Mask.hide_top(torch.rand(2, total, generator=torch.Generator().manual_seed(seed)), budget)
    near = nearest_visible(mask, clip)
    for row in range(2):
        visible = mask.visible[row].tolist()
        for index, hidden in enumerate(mask.decode[row].tolist()):
            at = np.array(np.unravel_index(hidden, grid))
            steps = [int(((np.array(np.unravel_index(v, grid)) - at) ** 2).sum()) for v in visible]
            assert near[row, index] == visible[int(np.argmin(steps))]


def test_thumbnails_are_middle_frames_of_the_videos_that_examples_name(small, tmp_path):
    examples = {
        "text to video": [{"query": "a text", "answers": [{"answer": "clip 24"}, {"answer": "clip 32"}]}],
        "video to text": [{"query": "clip 25", "answers": [{"answer": "another text"}]}],
        "video to video": [{"query": "clip 26", "answers": [{"answer": "clip 24"}]}],
    }
    names = named_videos(examples)
    assert names == ["clip 24", "clip 32", "clip 25", "clip 26", "clip 24"]
    keep_thumbnails(small, names, tmp_path)
    kept = load_thumbnails(tmp_path)
    assert list(kept.ids) == ["clip 24", "clip 25", "clip 26"]  # clip 32 cannot be read
    assert kept.frames.shape == (3, 112, 112, 3)
    assert abs(float(kept.frames[0].mean()) - 128) < 12  # halfway up the ramp
    keep_thumbnails(small, ["clip 25", "clip 27"], tmp_path)
    assert list(load_thumbnails(tmp_path).ids) == ["clip 24", "clip 26", "clip 25", "clip 27"]
