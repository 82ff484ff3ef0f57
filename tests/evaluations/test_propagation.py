"""Label propagation: on made-up tokens whose answer is known, on the synthetic dataset, on masks of one's own."""

import numpy as np
import pytest
import torch

from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations import Context, Propagation
from tubelet.evaluations.baselines import MeanImage, RawPixels
from tubelet.evaluations.propagation import MASKS, StepByStep, enlarge_masks, overlap, propagate
from tubelet.loading.data import Data
from tubelet.models.encoder import Vit
from tubelet.synthetic.corpus import Size, write_synth
from tubelet.types import Clip
from tubelet.video.sampling import Sampling

CLIP = Clip(frames=8, size=64, tubelet_frames=2, tubelet_size=8)
DATA = Data(sampling=Sampling(stride=2))


@pytest.fixture(scope="module")
def synth(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("synth") / "corpus"
    write_synth(folder, Size(train=1, test=8, pixels=64, frames=16))
    return Corpus.open(folder)


def moving(clip: Clip, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens that name what is at a place, everything moving `step` columns a time step, and the mask of one column."""
    time_steps, rows, columns = clip.grid
    codes = torch.randn(rows, columns, 16, generator=torch.Generator().manual_seed(0))
    tokens = torch.stack([codes.roll(step * time_step, dims=1) for time_step in range(time_steps)])
    mask = torch.zeros(time_steps, rows, columns)
    for time_step in range(time_steps):
        mask[time_step, 2:5, (1 + step * time_step) % columns] = 1
    return tokens.flatten(0, 2), mask


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_mask_follows_tokens_that_move(step):
    tokens, mask = moving(CLIP, step)
    for settings in (Propagation(neighbours=1), Propagation(neighbours=1, memory=1), Propagation(temperature=0.01)):
        torch.testing.assert_close(propagate(tokens, mask[0], CLIP, settings), mask, rtol=0, atol=1e-3)


def test_with_a_radius_no_match_is_farther():
    tokens, mask = moving(CLIP, 2)
    near = propagate(tokens, mask[0], CLIP, Propagation(neighbours=1, memory=0, radius=1.5))
    assert not torch.allclose(near[1], mask[1])
    still, mask = moving(CLIP, 0)
    torch.testing.assert_close(propagate(still, mask[0], CLIP, Propagation(neighbours=1, radius=0.0)), mask)


def test_the_same_in_plain_loops():
    clip = Clip(frames=6, size=24, tubelet_frames=2, tubelet_size=8)
    rng = np.random.default_rng(0)
    tokens, first = rng.normal(size=(3, 9, 5)), rng.random((3, 3))
    unit = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    masks = [first.ravel()]
    for time_step in (1, 2):
        seen = sorted({0, time_step - 1})
        row = []
        for index in range(9):
            pairs = [(unit[time_step, index] @ unit[m, other], masks[m][other]) for m in seen for other in range(9)]
            best = sorted(pairs, reverse=True)[:4]
            weight = np.exp([similarity / 0.2 for similarity, _ in best])
            row.append(sum(w * value for w, (_, value) in zip(weight, best, strict=True)) / weight.sum())
        masks.append(np.array(row))
    settings = Propagation(neighbours=4, memory=1, temperature=0.2)
    ours = propagate(torch.from_numpy(tokens).flatten(0, 1).float(), torch.from_numpy(first).float(), clip, settings)
    np.testing.assert_allclose(ours.flatten(1), np.stack(masks), atol=1e-5)


def test_overlap_is_intersection_over_union_and_two_empty_masks_agree():
    one, other = torch.zeros(3, 4, 4, dtype=torch.bool), torch.zeros(3, 4, 4, dtype=torch.bool)
    one[0, :2], other[0, 1:3] = True, True
    one[1] = True
    assert overlap(one, other) == pytest.approx((1 / 3 + 0 + 1) / 3)
    lower = torch.tensor([[[0.0, 0.0], [0.3, 0.3]]])  # nothing above one half, and still the lower half
    assert torch.equal(enlarge_masks(lower, one[0])[0], one[0].flip(0))


def test_raw_tubelets_follow_a_subject_and_the_truth_is_the_ceiling(synth):
    result = Propagation(samples=100).run(Context(RawPixels(CLIP), synth, CLIP, DATA))
    metrics = {name: one.value for name, one in {**result.metrics, **result.references}.items()}
    assert 0 < metrics["still"] < metrics["grid"] < 1
    assert 0 < metrics["j"] < metrics["grid"]
    assert result.counts["test"]["used"] == 8
    low, high = result.metrics["j"].interval
    assert low <= metrics["j"] <= high


FRAME = Clip(frames=1, size=64, tubelet_frames=1, tubelet_size=8)


def test_an_encoder_of_single_frames_sees_each_of_a_longer_clip_alone(synth):
    """What raw pixels say does not depend on the clip they stand in, so both ways are one."""
    whole = Clip(frames=4, size=64, tubelet_frames=1, tubelet_size=8)
    settings = Propagation(samples=50, time_steps=4)
    alone = settings.run(Context(RawPixels(FRAME), synth, FRAME, DATA))
    assert alone.metrics == settings.run(Context(RawPixels(whole), synth, whole, DATA)).metrics
    assert "each of its 4 time steps is encoded alone" in alone.protocol["features"]
    assert 0 < alone.metrics["j"].value < alone.references["grid"].value < 1

    torch.manual_seed(0)
    encoder = Vit(width=16, depth=1, heads=2).build(FRAME).eval()
    video = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8)
    tokens = StepByStep(encoder, FRAME).encode(video)
    one_by_one = torch.cat([encoder.encode(video[:, :, step : step + 1]) for step in range(3)], 1)
    torch.testing.assert_close(tokens, one_by_one)
    assert settings.run(Context(encoder, synth, FRAME, DATA)).counts["test"]["used"] == 8


def test_masks_of_ones_own_are_read_and_a_clip_without_is_named(small, clip, data, tmp_path):
    (tmp_path / MASKS).mkdir()
    same = ("id", "path", "end", "fps", "frames", "width", "height", "label", "split", "group")
    rows = [{name: getattr(video, name) for name in same} for video in small.select("test") if video.id != "clip 32"]
    corpus = write_corpus(tmp_path, "own", rows)
    for video in corpus.videos:
        mask = np.zeros((3 if video.id == "clip 30" else 8, 32, 40), np.uint8)
        mask[:, 4:20, 10:30] = 255
        np.save(tmp_path / MASKS / f"{video.id}.npy", mask if video.id != "clip 33" else mask[:5])
    result = Propagation(samples=50).run(Context(RawPixels(clip), corpus, clip, data))
    assert result.counts["test"] | {"groups": 0} == {
        "used": len(rows) - 1, "failed": 1, "missing": 0, "short": 1, "groups": 0
    }  # fmt: skip
    assert result.failed["test"] == ["clip 33: the file holds 8 frames and its masks 5"]
    assert result.references["still"].value == result.references["grid"].value  # nothing moves


def test_what_cannot_be_propagated_is_one_line(small, synth, clip, data):
    with pytest.raises(CorpusError, match=r"put one a video into .*masks"):
        Propagation().run(Context(RawPixels(clip), small, clip, data))
    with pytest.raises(CorpusError, match="a token for every position"):
        Propagation().run(Context(MeanImage(CLIP), synth, CLIP, DATA))
    with pytest.raises(RecipeError, match="temperature above 0"):
        Propagation(temperature=0)
    with pytest.raises(RecipeError, match="one to go to"):
        Propagation(time_steps=1)
