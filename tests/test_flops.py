"""FLOPs of a step, against the formula by hand."""

import pytest

from tubelet.flops import step_flops
from tubelet.maskers import Adaptive, Random
from tubelet.models.encoder import Vit
from tubelet.types import Clip


@pytest.mark.parametrize("width", [64, 256])  # a wide one makes its norms again for the gradient
def test_the_flops_of_a_step_are_those_of_the_formula(width: int) -> None:
    encoder, clip, k = Vit(width=width, depth=2, heads=2), Clip(frames=8, size=64), 20
    embedding = 2 * k * clip.tubelet_values * width
    blocks = 2 * (24 * k * width**2 + 4 * k**2 * width)
    assert step_flops(encoder, Random(), clip, k) == 2 * embedding + 3 * blocks  # no gradient goes to pixels
    n = clip.num_tubelets
    network = 24 * n * width**2 + 4 * n**2 * width + 2 * n * width
    learned = step_flops(encoder, Adaptive(), clip, k) - step_flops(encoder, Random(), clip, k)
    assert learned == 2 * n * clip.tubelet_values * width + 3 * network
