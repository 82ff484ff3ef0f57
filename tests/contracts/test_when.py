"""What every listed `When` promises: in which steps an objective counts."""

from dataclasses import replace

import pytest
import torch

from support.small_tasks import batch_of, gradients, recipe_of, small, task_of
from tubelet.config import from_plain, override, to_plain
from tubelet.errors import RecipeError
from tubelet.objectives import WHENS, Alternate, Always, Pixels, Predict, Ramp
from tubelet.objectives.targets import Raw
from tubelet.recipes.pretrain import Pretrain

every_when = pytest.mark.parametrize("when_class", WHENS, ids=lambda c: c.__name__)


@every_when
def test_its_factor_is_a_number_of_step_and_progress_that_is_never_negative(when_class):
    when = when_class()
    for step in range(10):
        factor = when.factor(step, step / 10)
        assert isinstance(factor, float)
        assert factor >= 0
        assert factor == when.factor(step, step / 10)


@every_when
def test_a_recipe_keeps_it_and_words_name_it(when_class):
    config = recipe_of({"pixels": small(Pixels, when=when_class())})
    assert from_plain(Pretrain, to_plain(config), "recipe.json") == config
    changed = override(recipe_of({"pixels": small(Pixels)}), [f"objectives.pixels.when={when_class.__name__}"])
    assert changed.objectives["pixels"].when == when_class()


def both(when, **more):
    config = recipe_of({"pixels": small(Pixels), "raw": small(Predict, target=Raw(), when=when, **more)})
    return task_of(config), batch_of(config)


def test_an_objective_whose_turn_it_is_not_has_a_gradient_of_zero_and_the_rest_is_the_plain_recipe_bit_for_bit():
    task, batch = both(Alternate(period=2, turn=1))
    alone_config = recipe_of({"pixels": small(Pixels)})
    alone = task_of(alone_config)
    off = replace(batch, step=2)
    found = gradients(task, off)
    assert found.keys() == dict(task.named_parameters()).keys()
    for name, value in found.items():
        if name.startswith("objectives.raw."):
            assert (value == 0).all(), name
    assert torch.equal(task(off).loss, alone(batch_of(alone_config)).loss)
    for name, value in gradients(alone, batch_of(alone_config)).items():
        assert torch.equal(found[name], value), name
    assert not [name for name in task(off).terms if name.startswith("raw")]


def test_an_objective_whose_turn_it_is_counts_as_if_it_always_did_bit_for_bit():
    task, batch = both(Alternate(period=2, turn=1))
    always, _ = both(Always())
    on = replace(batch, step=3)
    assert torch.equal(task(on).loss, always(on).loss)
    wanted = gradients(always, on)
    for name, value in gradients(task, on).items():
        assert torch.equal(value, wanted[name]), name


def test_objectives_with_different_turns_take_turns():
    turns = [Alternate(period=3, turn=turn) for turn in range(3)]
    assert [[when.factor(step, 0.0) for step in range(6)] for when in turns] == [
        [1, 0, 0, 1, 0, 0],
        [0, 1, 0, 0, 1, 0],
        [0, 0, 1, 0, 0, 1],
    ]


def test_a_ramp_goes_from_first_to_last_between_two_moments():
    line = Ramp(first=2.0, last=4.0, start=0.25, until=0.75)
    assert [line.factor(0, progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)] == [2, 2, 3, 4, 4]
    cosine = Ramp(shape="cosine")
    assert [round(cosine.factor(0, progress), 6) for progress in (0.0, 0.25, 0.5, 1.0)] == [0, 0.146447, 0.5, 1]


def test_a_ramp_scales_the_loss():
    task, batch = both(Ramp(first=0.5, last=0.5), weight=0.5)
    step = task(batch)
    assert step.loss.item() == pytest.approx((step.terms["pixels"] + 0.25 * step.terms["raw"]).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Ramp(start=0.5, until=0.5), "must lie within 0 and 1"),
        (lambda: Ramp(first=-1.0), "must not go below 0"),
        (lambda: Alternate(period=2, turn=2), "one of the 2 steps of a round"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(RecipeError, match=said):
        make()
