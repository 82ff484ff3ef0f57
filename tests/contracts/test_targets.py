"""What every listed target promises. A target is tested by being listed in `tubelet.objectives.targets.TARGETS`."""

import sys
from dataclasses import FrozenInstanceError

import chz
import pytest
import torch

from support.small_tasks import batch_of, recipe_of, rows, small, task_of
from tubelet.config import from_plain, override, to_plain
from tubelet.objectives import Predict
from tubelet.objectives.targets import TARGETS, Ids, PixelTarget
from tubelet.recipes.pretrain import Pretrain
from tubelet.types import Words

every_target = pytest.mark.parametrize("target_class", TARGETS, ids=lambda c: c.__name__)
every_pixel_target = pytest.mark.parametrize(
    "target_class", [cls for cls in TARGETS if issubclass(cls, PixelTarget)], ids=lambda c: c.__name__
)


def recipe(target_class):
    config = recipe_of({"mine": small(Predict, target=target_class())})
    return chz.replace(config, clip=Words(vocabulary=16)) if target_class is Ids else config


def of(target_class):
    config = recipe(target_class)
    task, batch = task_of(config), batch_of(config)
    return task, batch, task.look(batch)


@every_target
def test_a_score_is_one_number_a_decoded_tubelet_with_a_gradient_to_the_prediction_alone(target_class):
    task, _, seen = of(target_class)
    head = task.objectives["mine"]
    prediction = head.predict(seen).detach().requires_grad_()
    scores = head.config.target.score(prediction, seen)
    assert scores.per_token.shape == seen.mask.decode.shape
    assert (scores.per_token >= 0).all()
    assert scores.baseline.shape == ()
    assert not scores.baseline.requires_grad
    (gradient,) = torch.autograd.grad(scores.per_token.sum(), prediction)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).any()


@every_target
def test_its_width_is_that_of_what_is_predicted(target_class):
    task, _, seen = of(target_class)
    head = task.objectives["mine"]
    sizes = task.sizes(32, None, recipe(target_class).teacher)
    assert head.predict(seen).shape[-1] == head.config.target.width(sizes)


@every_target
def test_the_score_of_a_clip_is_its_own(target_class):
    task, batch, seen = of(target_class)
    head = task.objectives["mine"]
    part = task.look(rows(batch, [2, 0]))
    whole = head.config.target.score(head.predict(seen), seen).per_token
    some = head.config.target.score(head.predict(part), part).per_token
    torch.testing.assert_close(some, whole[[2, 0]], atol=1e-5, rtol=1e-5)


@every_target
def test_the_baseline_is_a_cost_that_a_constant_prediction_reaches(target_class):
    """No constant vector predicts for less; for targets whose baseline knows more than a constant it is lower still."""
    task, _, seen = of(target_class)
    head = task.objectives["mine"]
    torch.manual_seed(0)
    constant = torch.randn(head.predict(seen).shape[-1])
    scores = head.config.target.score(constant.expand(head.predict(seen).shape), seen)
    assert scores.per_token.mean() > scores.baseline > 0


@every_pixel_target
def test_what_is_standardised_is_what_is_scored_and_its_pixels_are_the_truth(target_class):
    task, batch, seen = of(target_class)
    rebuilt = task.reconstruct(batch)
    assert rebuilt.target.values.shape == rebuilt.prediction.shape
    scores = rebuilt.kind.score(rebuilt.prediction, seen)
    torch.testing.assert_close(
        scores.per_token, (rebuilt.prediction - rebuilt.target.values).square().mean(-1), atol=1e-5, rtol=1e-5
    )
    assert scores.baseline.item() == pytest.approx(rebuilt.target.mean_prediction_loss.item(), rel=1e-5)
    perfect = rebuilt.kind.score(rebuilt.target.values, seen)
    assert perfect.per_token.max() < 1e-6
    pixels = rebuilt.target.pixels(rebuilt.target.values)
    whole = rebuilt.kind.fill(pixels, seen.clip)
    assert whole.shape[-1] == seen.clip.tubelet_values
    assert 0 - 1e-2 <= whole.min() <= whole.max() <= 255 + 1e-2
    assert torch.equal(pixels, pixels.round()) or (pixels - pixels.round()).abs().max() < 2e-2


@every_target
def test_it_is_a_frozen_config_that_a_recipe_keeps_and_a_word_names(target_class):
    target = target_class()
    field = next(iter(chz.chz_fields(target_class)), None)
    if field is not None:
        with pytest.raises(FrozenInstanceError):
            setattr(target, field, None)
    config = recipe_of({"mine": small(Predict, target=target)})
    assert from_plain(Pretrain, to_plain(config), "recipe.json") == config
    changed = override(recipe_of({"mine": small(Predict)}), [f"objectives.mine.target={target_class.__name__}"])
    assert changed.objectives["mine"].target == target


@every_target
def test_its_file_says_what_it_is_and_where_it_is_from(target_class):
    story = sys.modules[target_class.__module__].__doc__
    assert story.startswith(target_class.__name__)
    assert "arXiv" in story
