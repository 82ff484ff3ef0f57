import math

import numpy as np
import pytest
import torch

from tubelet.models import Decoder, Vit
from tubelet.models.patches import cut, gather
from tubelet.objectives import Pixels, Sizes
from tubelet.objectives.targets.per_colour import NormalisedError, normalise
from tubelet.types import Batch, Clip, Encoded, Mask

CLIP = Clip(frames=4, size=32, tubelet_size=8)


def random_tubelets(clip=CLIP, count=2, seed=0):
    random = torch.Generator().manual_seed(seed)
    shape = (count, clip.num_tubelets, clip.tubelet_values)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)


def test_the_target_equals_a_plain_loop_over_tubelets_and_colours():
    tubelets = random_tubelets()
    got = normalise(tubelets)
    pixels = tubelets.numpy().astype(np.float64) / 255
    for i, j in np.ndindex(*tubelets.shape[:2]):
        for colour in range(3):
            values = pixels[i, j].reshape(3, -1)[colour]
            wanted = (values - values.mean()) / (values.std(ddof=1) + 1e-6)
            np.testing.assert_allclose(got.values[i, j].reshape(3, -1)[colour], wanted, atol=2e-6)
            assert got.mean[i, j, colour].item() == pytest.approx(255 * values.mean(), rel=1e-6)
            assert got.std[i, j, colour].item() == pytest.approx(255 * values.std(ddof=1), rel=1e-6)


@pytest.mark.parametrize(("size", "level"), [(16, 511 / 512), (8, 127 / 128)])
def test_predicting_the_mean_costs_511_512ths_for_the_usual_tubelet_and_another_share_for_others(size, level):
    target = normalise(random_tubelets(Clip(frames=2, size=64, tubelet_size=size)))
    assert target.mean_prediction_loss.item() == pytest.approx(level, abs=1e-5)


def test_the_mean_prediction_baseline_is_the_mean_square_of_exactly_the_target():
    tubelets = random_tubelets()
    tubelets[0, :7] = 200  # flat
    tubelets[1, 3, :128] = 0  # one colour flat
    tubelets[1, 4] = 100
    tubelets[1, 4, 5] = 101  # nearly flat
    target = normalise(tubelets)
    assert target.mean_prediction_loss.item() == pytest.approx(target.values.double().square().mean().item(), abs=1e-7)


@pytest.mark.parametrize("value", [0, 1, 127, 200, 255])
@pytest.mark.parametrize("size", [8, 7, 16])
def test_a_flat_tubelet_has_target_zero_and_is_counted(value, size):
    clip = Clip(frames=2, size=2 * size, tubelet_size=size)
    tubelets = random_tubelets(clip, count=1)
    tubelets[0, 2] = value
    target = normalise(tubelets)
    assert target.flat.tolist() == [[False, False, True, False]]
    assert target.values[0, 2].eq(0).all()


def test_the_target_of_a_tubelet_with_the_least_contrast_is_exact():
    tubelets = torch.full((1, 1, 1536), 90, dtype=torch.uint8)
    tubelets[0, 0, ::512] = 91
    values = np.full(512, 90 / 255)
    values[0] = 91 / 255
    wanted = (values - values.mean()) / (values.std(ddof=1) + 1e-6)
    np.testing.assert_allclose(normalise(tubelets).values[0, 0, :512], wanted, rtol=1e-4)


def test_pixels_puts_mean_and_spread_back():
    tubelets = random_tubelets()
    target = normalise(tubelets)
    torch.testing.assert_close(target.pixels(target.values), tubelets.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_error_and_gradient_equal_those_of_the_plain_formula(dtype):
    tubelets = random_tubelets(count=3)
    prediction = torch.randn(tubelets.shape, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
    plain = (prediction.float() - normalise(tubelets).values).square().mean(-1)
    weights = torch.rand(plain.shape, generator=torch.Generator().manual_seed(2))
    (wanted,) = torch.autograd.grad((plain * weights).sum(), prediction)
    error, mean_prediction, flat = NormalisedError.apply(prediction, tubelets)
    (got,) = torch.autograd.grad((error * weights).sum(), prediction)
    torch.testing.assert_close(error, plain)
    torch.testing.assert_close(got, wanted)
    assert got.dtype == dtype
    assert mean_prediction == normalise(tubelets).mean_prediction_loss
    assert torch.equal(flat, normalise(tubelets).flat)


def test_a_second_backward_pass_is_refused_and_not_wrong():
    prediction = torch.randn(2, CLIP.num_tubelets, CLIP.tubelet_values, requires_grad=True)
    error, _, _ = NormalisedError.apply(prediction, random_tubelets())
    error.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        error.sum().backward()


def seen_of(decode_every=1, seed=0):
    torch.manual_seed(seed)
    encoder = Vit(width=32, depth=1, heads=4).build(CLIP)
    video = torch.randint(0, 256, (2, 3, 4, 32, 32), dtype=torch.uint8)
    batch = Batch(video=video, key=torch.arange(2), ids=("a", "b"))
    order = torch.stack([torch.randperm(CLIP.num_tubelets) for _ in range(2)])
    visible, hidden = order[:, :8].sort().values, order[:, 8:].sort().values
    mask = Mask(visible=visible, hidden=hidden, decode=hidden[:, ::decode_every].contiguous())
    tubelets = cut(video, CLIP)
    return Encoded(CLIP, batch, mask, tubelets, encoder(gather(tubelets, visible), visible))


@pytest.mark.parametrize("decode_every", [1, 2])
def test_the_loss_is_the_mean_over_the_decoded_tubelets_only(decode_every):
    seen = seen_of(decode_every)
    head = Pixels(decoder=Decoder(width=24, depth=1, heads=2)).build(Sizes(CLIP, 32, name="pixels"))
    loss = head(seen)
    target = normalise(gather(seen.tubelets, seen.mask.decode))
    errors = (head.predict(seen) - target.values).square()
    assert loss.value.item() == pytest.approx(errors.mean().item(), abs=1e-6)
    assert loss.per_token_loss is not None
    torch.testing.assert_close(loss.per_token_loss, errors.mean(-1))
    assert loss.terms["pixels"].item() == loss.value.item()
    assert loss.terms["pixels.baseline"].item() == pytest.approx(target.values.square().mean().item(), abs=1e-6)
    assert loss.terms["pixels.flat"].item() == 0
    assert not any(term.requires_grad for term in loss.terms.values())


def test_a_prediction_of_zero_costs_the_mean_prediction_baseline():
    seen = seen_of()
    head = Pixels(decoder=Decoder(width=24, depth=1, heads=2)).build(Sizes(CLIP, 32, name="pixels"))
    torch.nn.init.zeros_(head.decoder.head.weight)
    torch.nn.init.zeros_(head.decoder.head.bias)
    loss = head(seen)
    assert loss.value.item() == pytest.approx(loss.terms["pixels.baseline"].item(), abs=1e-6)
    assert math.isclose(loss.value.item(), 127 / 128, abs_tol=1e-4)
