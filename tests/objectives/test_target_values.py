"""The laws of the targets, each against a plain loop in NumPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tubelet.errors import RecipeError
from tubelet.models.patches import MEAN, STD, cut, gather
from tubelet.objectives import Sizes
from tubelet.objectives.targets import Codes, Difference, Features, PerTubelet, Raw
from tubelet.types import Batch, Clip, Encoded, Mask

CLIP = Clip(frames=6, size=16, tubelet_frames=2, tubelet_size=8)


def seen_of(clip=CLIP, count=2, seed=0, teacher=None):
    """Half of each clip is scored; the encoder's tokens play no part."""
    random = torch.Generator().manual_seed(seed)
    shape = (count, 3, clip.frames, clip.size, clip.size)
    video = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
    batch = Batch(video=video, key=torch.arange(count), ids=tuple(map(str, range(count))))
    order = torch.stack([torch.randperm(clip.num_tubelets, generator=random) for _ in range(count)])
    half = clip.num_tubelets // 2
    visible, hidden = order[:, :half].sort().values, order[:, half:].sort().values
    tubelets = cut(video, clip)
    tokens = torch.zeros(count, half, 4)
    whole = None
    if teacher is not None:
        whole = Encoded(clip, batch, Mask.all_visible(count, clip.num_tubelets, video.device), tubelets, teacher)
    return Encoded(clip, batch, Mask(visible, hidden, hidden), tubelets, tokens, teacher=whole)


def st_mae_target(video, clip):
    """ST-MAE's of every tubelet: of the frames `linspace(0, frames - 1, time steps)`, whole, with eps in the root."""
    pixels = (video.numpy() / 255 - np.array(MEAN)[:, None, None, None]) / np.array(STD)[:, None, None, None]
    found = []
    for frame in np.linspace(0, clip.frames - 1, clip.grid[0]).astype(int):
        for row in range(0, clip.size, clip.tubelet_size):
            for column in range(0, clip.size, clip.tubelet_size):
                patch = pixels[:, frame, row : row + clip.tubelet_size, column : column + clip.tubelet_size].ravel()
                found.append((patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6))
    return np.stack(found)


@pytest.mark.parametrize(
    "clip",
    [CLIP, Clip(frames=16, size=8, tubelet_size=8), Clip(frames=8, size=8, tubelet_frames=4, tubelet_size=8),
     Clip(frames=4, size=8, tubelet_frames=1, tubelet_size=4)],
    ids=str,
)  # fmt: skip
def test_the_target_of_st_mae_is_that_of_a_plain_loop(clip):
    seen = seen_of(clip)
    target = PerTubelet().standardise(gather(seen.tubelets, seen.mask.decode), seen.mask.decode, clip)
    for index in range(2):
        wanted = st_mae_target(seen.batch.video[index], clip)[seen.mask.decode[index].numpy()]
        np.testing.assert_allclose(target.values[index], wanted, atol=2e-4, rtol=1e-4)


def test_of_sixteen_frames_in_tubelets_of_two_the_last_alone_is_its_tubelets_second():
    assert [int(frame) for frame in np.linspace(0, 15, 8)] == [0, 2, 4, 6, 8, 10, 12, 15]
    clip = Clip(frames=16, size=8, tubelet_size=8)
    video = torch.arange(16, dtype=torch.uint8)[:, None, None].repeat(1, 8, 8).repeat(3, 1, 1, 1)
    video[..., 0, 0] += 50  # a flat frame has no target
    where = torch.arange(8)[None]
    target = PerTubelet().standardise(cut(video[None], clip), where, clip)
    shown = PerTubelet().fill(target.pixels(target.values), clip).round()
    frames = shown.unflatten(-1, (3, 2, 64))[0, :, 0, :, 5]
    assert frames.tolist() == [[f, f] for f in (0, 2, 4, 6, 8, 10, 12, 15)]


def test_all_frames_of_a_tubelet_are_standardised_together():
    seen = seen_of()
    target = PerTubelet(frames="all").standardise(gather(seen.tubelets, seen.mask.decode), seen.mask.decode, CLIP)
    values = gather(seen.tubelets, seen.mask.decode).numpy().reshape(2, -1, 3, 128) / 255
    values = ((values - np.array(MEAN)[:, None]) / np.array(STD)[:, None]).reshape(2, -1, 384)
    wanted = (values - values.mean(-1, keepdims=True)) / np.sqrt(values.var(-1, ddof=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(target.values, wanted, atol=1e-5)


def test_raw_is_what_enters_the_encoder_and_its_baseline_is_the_mean_of_each_colour():
    seen = seen_of()
    values = gather(seen.tubelets, seen.mask.decode).numpy().reshape(2, -1, 3, 128) / 255
    values = (values - np.array(MEAN)[:, None]) / np.array(STD)[:, None]
    prediction = torch.randn(2, values.shape[1], 384, generator=torch.Generator().manual_seed(0))
    scores = Raw().score(prediction, seen)
    wanted = ((prediction.numpy() - values.reshape(2, -1, 384)) ** 2).mean(-1)
    np.testing.assert_allclose(scores.per_token, wanted, rtol=1e-4)
    colours = np.moveaxis(values, 2, 0).reshape(3, -1)
    assert scores.baseline.item() == pytest.approx(colours.var(1).mean(), rel=1e-5)


@pytest.mark.parametrize("loss", ["mse", "l1", "cosine"])
@pytest.mark.parametrize("normalise", [False, True])
def test_features_are_the_teachers_tokens_at_the_decoded_positions(loss, normalise):
    teacher = 1 + 2 * torch.randn(2, CLIP.num_tubelets, 5, generator=torch.Generator().manual_seed(3))
    seen = seen_of(teacher=teacher)
    prediction = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(4))
    scores = Features(normalise=normalise, loss=loss).score(prediction, seen)

    def error(one, other):
        if loss == "cosine":
            return 2 - 2 * one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        return np.mean(np.abs(one - other) ** (1 if loss == "l1" else 2))

    wanted, targets = np.zeros((2, 6)), np.zeros((2, 6, 5))
    for i, j in np.ndindex(2, 6):
        token = teacher[i, seen.mask.decode[i, j]].double().numpy()
        targets[i, j] = (token - token.mean()) / np.sqrt(token.var() + 1e-5) if normalise else token
        wanted[i, j] = error(prediction[i, j].double().numpy(), targets[i, j])
    np.testing.assert_allclose(scores.per_token, wanted, rtol=1e-4, atol=1e-6)
    mean = targets.mean((0, 1))
    assert scores.baseline.item() == pytest.approx(
        np.mean([error(mean, targets[i, j]) for i, j in np.ndindex(2, 6)]), rel=1e-4
    )


def test_where_all_the_teachers_tokens_are_one_the_baseline_is_zero():
    seen = seen_of(teacher=torch.ones(2, CLIP.num_tubelets, 5) * torch.arange(5.0))
    scores = Features().score(torch.zeros(2, 6, 5), seen)
    assert scores.baseline < 1e-9


@pytest.mark.parametrize("clip", [CLIP, Clip(frames=6, size=16, tubelet_frames=3, tubelet_size=8)], ids=str)
def test_a_difference_is_each_frame_of_a_tubelet_less_the_one_before_in_a_plain_loop(clip):
    seen, target = seen_of(clip), Difference()
    pixels = (seen.batch.video.numpy() / 255 - np.array(MEAN)[:, None, None, None]) / np.array(STD)[:, None, None, None]
    width, errors, squares = target.width(Sizes(clip, 4)), [], []
    prediction = torch.randn(*seen.mask.decode.shape, width, generator=torch.Generator().manual_seed(1))
    time, side = clip.tubelet_frames, clip.tubelet_size
    for index in range(2):
        for number, where in enumerate(seen.mask.decode[index].tolist()):
            step, row, column = np.unravel_index(where, clip.grid)
            rows, columns = slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)
            change = [
                pixels[index, colour, step * time + frame + 1, rows, columns]
                - pixels[index, colour, step * time + frame, rows, columns]
                for colour in range(3)
                for frame in range(time - 1)
            ]
            wanted = np.stack(change).ravel()
            errors.append(np.square(prediction[index, number].numpy() - wanted).mean())
            squares.append(np.square(wanted).mean())
    scores = target.score(prediction, seen)
    np.testing.assert_allclose(scores.per_token.flatten(), errors, rtol=1e-4)
    assert scores.baseline.item() == pytest.approx(np.mean(squares), rel=1e-4)


def test_of_what_stands_still_the_difference_is_nothing_and_single_frames_have_none():
    seen = seen_of()
    still = seen.tubelets.unflatten(-1, (3, 2, -1))[:, :, :, :1].expand(-1, -1, -1, 2, -1).flatten(2)
    scores = Difference().score(torch.zeros(*seen.mask.decode.shape, 3 * 8 * 8), replace(seen, tubelets=still))
    assert scores.per_token.max() == scores.baseline == 0
    with pytest.raises(RecipeError, match="2 frames or more"):
        Difference().width(Sizes(Clip(frames=4, size=16, tubelet_frames=1, tubelet_size=8), 4))


def test_codes_cost_their_cross_entropy_and_the_baseline_is_the_entropy_of_how_often_each_is_scored():
    numbers = torch.randint(0, 5, (2, CLIP.num_tubelets), generator=torch.Generator().manual_seed(0))
    seen = seen_of(teacher=torch.zeros(2, CLIP.num_tubelets, 4))
    seen = replace(seen, teacher=replace(seen.teacher, codes=numbers))
    scores = torch.randn(2, CLIP.num_tubelets // 2, 7, generator=torch.Generator().manual_seed(1))
    found = Codes().score(scores, seen)
    counts, right = np.zeros(7), 0
    for clip in range(2):
        for place, where in enumerate(seen.mask.decode[clip].tolist()):
            number, row = int(numbers[clip, where]), scores[clip, place].double().numpy()
            cost = np.log(np.exp(row).sum()) - row[number]
            assert found.per_token[clip, place].item() == pytest.approx(cost, rel=1e-5)
            counts[number] += 1
            right += row.argmax() == number
    share = counts[counts > 0] / counts.sum()
    assert found.baseline.item() == pytest.approx(-(share * np.log(share)).sum(), rel=1e-5)
    assert found.terms["accuracy"].item() == pytest.approx(right / counts.sum())


def test_a_teacher_without_codes_is_refused_as_the_source_of_codes():
    with pytest.raises(
        RecipeError, match="this teacher gives none; name a run of the recipe vq with teacher=Tokenizer"
    ):
        Codes().width(Sizes(CLIP, 4, teacher=Sizes(CLIP, 4)))
