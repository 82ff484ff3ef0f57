"""FLOPs of a step, against the formula by hand."""

from tubelet.flops import step_flops
from tubelet.maskers import Adaptive, Random
from tubelet.models.encoder import Vit
from tubelet.types import Clip


def test_the_flops_of_a_step_are_those_of_the_formula() -> None:
    encoder, clip, k = Vit(width=64, depth=2, heads=2), Clip(frames=8, size=64), 20
    embedding = 2 * k * clip.tubelet_values * 64
    blocks = 2 * (24 * k * 64**2 + 4 * k**2 * 64)
    assert step_flops(encoder, Random(), clip, k) == 2 * embedding + 3 * blocks  # no gradient goes to pixels
    n = clip.num_tubelets
    network = 24 * n * 64**2 + 4 * n**2 * 64 + 2 * n * 64
    learned = step_flops(encoder, Adaptive(), clip, k) - step_flops(encoder, Random(), clip, k)
    assert learned == 2 * n * clip.tubelet_values * 64 + 3 * network
