"""Soft choices: scores of a clip on a common scale, and noise that turns a top-k into sampling without replacement."""

from jaxtyping import Float, Int64
from torch import Tensor

from tubelet.errors import RecipeError
from tubelet.seeds import gumbel


def standardise(scores: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Zero mean and unit standard deviation within each clip; all-equal scores give 0."""
    scores = scores.float()
    centred = scores - scores.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)


def soften(scores: Float[Tensor, "b n"], temperature: float, key: Int64[Tensor, "b"]) -> Float[Tensor, "b n"]:
    """Scores whose top k are drawn without replacement with weights exp(standardised score / temperature).

    The temperature counts in standard deviations of the clip's own scores, so one value suits every source. At 0 the
    scores come back as they are: nothing is drawn.
    """
    if not temperature:
        return scores
    return standardise(scores) + temperature * gumbel(key, scores.shape[1])


def check_temperature(temperature: float) -> None:
    if not 0 <= temperature < float("inf"):
        raise RecipeError(
            f"masker.temperature={temperature} must be 0 (the highest scores) or more (the more, the more random)"
        )
