"""docs/scale.md says what its arithmetic says, and the arithmetic what it claims."""

from pathlib import Path

import pytest
import torch
from benchmarks.cases import SIZES
from benchmarks.plan import CONSTANTS, PLANS, constants, layer_flops, number, parameters, table

PAGE = (Path(__file__).parents[1] / "docs" / "scale.md").read_text()


def test_the_page_holds_the_tables_of_the_arithmetic():
    assert table() in PAGE
    assert constants() in PAGE


def test_every_constant_says_where_it_is_from():
    for name, one in CONSTANTS.items():
        assert one.value > 0, name
        said = ("measured", "assumed", "arXiv", "default", "data sheet", "issue", "](", "16:9")
        assert any(word in one.source for word in said), name


def test_costs_grow_with_the_videos_and_gpu_hours_have_a_lower_and_an_upper_end():
    assert [plan.videos for plan in PLANS] == sorted(plan.videos for plan in PLANS)
    for plan in PLANS:
        best, worst = plan.gpu_hours(1e18)
        assert worst / best == pytest.approx(11)
        assert best == pytest.approx(1e18 / (989e12 * 0.55) / 3600)


@pytest.mark.parametrize("name", ["B224", "H224", "g224"])
def test_parameters_are_those_of_the_model_that_is_built(name):
    size = SIZES[name]
    with torch.device("meta"):
        built = sum(one.numel() for one in size.encoder.build(size.clip).parameters())
    assert parameters(size.encoder, size.clip.tubelet_values) == built


def test_a_layer_of_a_text_map_costs_what_clip_does_on_as_many_patches():
    """ViT-B/32 has 4.4 G multiplications on 50 tokens; 351 tokens are seven times as many, and attend to each other."""
    assert 7 * 8.7e9 < layer_flops() < 9 * 8.7e9


def test_numbers_are_rounded_to_two_digits_and_large_ones_are_words():
    assert [number(value) for value in (0.01234, 118.4, 11_840, 1.62e9, 2.5e13)] == [
        "0.012", "120", "12,000", "1.6 billion", "25 trillion",
    ]  # fmt: skip
