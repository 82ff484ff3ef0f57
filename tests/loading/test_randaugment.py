"""RandAugment: magnitudes against a table from the published formula, pixels against Pillow, frames alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from tubelet.errors import RecipeError
from tubelet.loading.randaugment import OPERATIONS, Change, RandAugment

# (level 0, level 7, level 10) of rand-...-inc1; signed where the sign is drawn.
TABLE = {
    "AutoContrast": (None, None, None),
    "Equalize": (None, None, None),
    "Invert": (None, None, None),
    "Rotate": (0, 21, 30),
    "Posterize": (4, 2, 0),  # bits kept
    "Solarize": (256, 77, 0),  # values from here on are inverted
    "SolarizeAdd": (0, 77, 110),
    "Color": (1, 1.63, 1.9),
    "Contrast": (1, 1.63, 1.9),
    "Brightness": (1, 1.63, 1.9),
    "Sharpness": (1, 1.63, 1.9),
    "ShearX": (0, 0.21, 0.3),
    "ShearY": (0, 0.21, 0.3),
    "TranslateX": (0, 0.315, 0.45),  # shares of the frame
    "TranslateY": (0, 0.315, 0.45),
}
ENHANCED = ("Color", "Contrast", "Brightness", "Sharpness")
MIRRORED = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


def frames(count: int = 3, height: int = 24, width: int = 32) -> np.ndarray:
    """A smooth picture with noise, so that no operation is without effect."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    smooth = 100 + 2.5 * x[..., None] - 1.5 * y[..., None] + np.array([0, 20, -30])
    return (smooth + rng.normal(0, 12, (count, height, width, 3))).clip(5, 240).astype(np.uint8)


def test_the_fifteen_operations_are_those_of_the_table():
    assert set(OPERATIONS) == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_magnitudes_are_those_of_the_published_formula(name):
    for level, expected in zip((0.0, 0.7, 1.0), TABLE[name], strict=True):
        plus, minus = (OPERATIONS[name].argument(level, sign) for sign in (1, -1))
        if expected is None:
            assert plus == minus == 0
            continue
        assert plus == pytest.approx(expected)
        mirrored = -expected if name in MIRRORED else 2 - expected if name in ENHANCED else expected
        assert minus == pytest.approx(mirrored)


def pillow(name: str, image: Image.Image, argument: float) -> Image.Image:
    """The same in Pillow's own words, or from its definition."""
    grey = (128, 128, 128)
    width, height = image.size
    if name == "Rotate":
        return image.rotate(argument, resample=Image.Resampling.BICUBIC, fillcolor=grey)
    matrices = {
        "ShearX": (1, argument, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, argument, 1, 0),
        "TranslateX": (1, 0, argument * width, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, argument * height),
    }
    if name in matrices:
        return image.transform(image.size, Image.Transform.AFFINE, matrices[name], Image.Resampling.BICUBIC,
                               fillcolor=grey)  # fmt: skip
    values = np.asarray(image).astype(int)
    formulas = {
        "Invert": lambda: 255 - values,
        "Posterize": lambda: values // 2 ** (8 - int(argument)) * 2 ** (8 - int(argument)),
        "Solarize": lambda: np.where(values < argument, values, 255 - values),
        "SolarizeAdd": lambda: np.where(values < 128, np.minimum(values + argument, 255), values),
    }
    if name in formulas:
        return Image.fromarray(formulas[name]().astype(np.uint8))
    if name in ("AutoContrast", "Equalize"):
        return getattr(ImageOps, name.lower())(image)
    degenerate = {
        "Brightness": lambda: Image.new("RGB", image.size),
        "Color": lambda: image.convert("L").convert("RGB"),
        "Contrast": lambda: Image.new("RGB", image.size, (int(np.asarray(image.convert("L")).mean() + 0.5),) * 3),
        "Sharpness": lambda: image.filter(ImageFilter.SMOOTH),
    }
    return Image.blend(degenerate[name](), image, argument)


@pytest.mark.parametrize("name", TABLE)
def test_pixels_are_pillows_and_every_frame_is_changed_alike(name):
    clip = frames()
    for level, sign in ((0.7, 1), (0.7, -1), (1.0, 1)):
        argument = OPERATIONS[name].argument(level, sign)
        changed = Change(name, argument)(clip)
        assert changed.shape == clip.shape
        for frame, got in zip(clip, changed, strict=True):
            np.testing.assert_array_equal(got, np.asarray(pillow(name, Image.fromarray(frame), argument)))
        assert (changed != clip).any()


def test_an_enhancement_is_that_of_pillow():
    clip = frames(1)
    want = ImageEnhance.Color(Image.fromarray(clip[0])).enhance(0.37)
    np.testing.assert_array_equal(Change("Color", 0.37)(clip)[0], np.asarray(want))


def test_half_of_four_operations_are_done_at_a_magnitude_around_seven():
    rng = np.random.default_rng(0)
    draws = [RandAugment().draw(rng) for _ in range(4000)]
    assert np.mean([len(draw) for draw in draws]) == pytest.approx(2.0, abs=0.06)
    names = [change.name for draw in draws for change in draw]
    shares = np.array([names.count(name) for name in OPERATIONS]) / len(names)
    np.testing.assert_allclose(shares, 1 / 15, atol=0.012)
    degrees = np.array([change.argument for draw in draws for change in draw if change.name == "Rotate"])
    assert abs(np.mean(degrees > 0) - 0.5) < 0.08
    assert np.abs(degrees).mean() == pytest.approx(21, abs=0.3)
    assert np.abs(degrees).std() == pytest.approx(1.5, abs=0.25)  # .5 of 10 of 30 degrees


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0, 10), st.floats(0, 3))
def test_every_argument_stays_within_its_range(seed, magnitude, deviation):
    augment = RandAugment(layers=6, magnitude=magnitude, deviation=deviation, probability=1.0)
    for change in augment.draw(np.random.default_rng(seed)):
        ends = [OPERATIONS[change.name].argument(level, sign) for level in (0.0, 1.0) for sign in (-1, 1)]
        assert min(ends) - 1e-9 <= change.argument <= max(ends) + 1e-9


def test_the_same_key_draws_the_same_changes_and_none_is_drawn_of_no_layers():
    one, other = (RandAugment().draw(np.random.default_rng(5)) for _ in range(2))
    assert one == other
    assert RandAugment(layers=0).draw(np.random.default_rng(5)) == []


def test_a_magnitude_beyond_ten_is_refused():
    with pytest.raises(RecipeError, match="magnitude 0 to 10"):
        RandAugment(magnitude=11)
