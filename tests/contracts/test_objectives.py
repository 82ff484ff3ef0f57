"""What every listed objective promises. An objective is tested by being listed in `tubelet.objectives.OBJECTIVES`."""

import sys
from dataclasses import FrozenInstanceError, replace

import chz
import pytest
import torch

from support.small_tasks import batch_of, gradients, recipe_of, rows, small, task_of
from tubelet.config import from_plain, override, to_plain
from tubelet.errors import RecipeError
from tubelet.maskers import Future, Nothing, Past, Random
from tubelet.objectives import OBJECTIVES, Captioning, Cpc, Pixels
from tubelet.recipes.pretrain import Pretrain
from tubelet.streams import Bare, Stream
from tubelet.types import CLIP, Words

every_objective = pytest.mark.parametrize("objective_class", OBJECTIVES, ids=lambda c: c.__name__)


MASKS = {Cpc: (Future(ratio=0.5), {"future": Past(ratio=0.5)})}  # of those that want other masks than random ones
STREAMS = {Captioning: {"words": Stream(signal=Words(frames=6, vocabulary=16), tower=Bare())}}


def recipe(objective_class, **fields):
    masker, beside = MASKS.get(objective_class, (None, {}))
    streams = {name: Stream(masker=hides) for name, hides in beside.items()} | STREAMS.get(objective_class, {})
    return recipe_of({"mine": small(objective_class, **fields)}, streams=streams, masker=masker)


def of(objective_class):
    config = recipe(objective_class)
    return config, task_of(config), batch_of(config)


@every_objective
def test_its_loss_is_finite_and_so_is_the_gradient_of_every_weight_that_is_trained(objective_class):
    config, task, batch = of(objective_class)
    step = task(batch)
    assert step.loss.shape == ()
    assert torch.isfinite(step.loss)
    found = gradients(task, batch)
    assert found.keys() == {name for name, value in task.named_parameters() if value.requires_grad}
    assert all(torch.isfinite(value).all() for value in found.values())
    if not config.objectives["mine"].detached:
        assert any(value.abs().sum() > 0 for name, value in found.items() if name.startswith("encoder."))


@every_objective
def test_it_logs_its_name_and_what_knowing_nothing_costs_and_nothing_under_another_name(objective_class):
    _, task, batch = of(objective_class)
    terms = task(batch).terms
    assert {"mine", "mine.baseline"} <= terms.keys()
    assert all(name.partition(".")[0] == "mine" for name in terms)
    assert all(value.shape == () and torch.isfinite(value) and not value.requires_grad for value in terms.values())


@every_objective
def test_its_weight_multiplies_its_loss_and_not_what_is_logged(objective_class):
    _, task, batch = of(objective_class)
    config = recipe(objective_class, weight=0.25)
    whole, part = task(batch), task_of(config)(batch)
    assert part.loss.item() == pytest.approx(config.objectives["mine"].factor * whole.loss.item(), rel=1e-5)
    assert part.terms == whole.terms


@every_objective
def test_the_same_batch_gives_the_same_loss_again(objective_class):
    config, task, batch = of(objective_class)
    assert task(batch).loss == task_of(config)(batch).loss


@every_objective
def test_no_clip_changes_the_loss_of_another_unless_the_objective_compares_clips(objective_class):
    if objective_class.compares_clips:
        pytest.skip("the other clips are its negatives")
    _, task, batch = of(objective_class)
    alone = torch.stack([task(rows(batch, [index])).loss for index in range(len(batch))])
    torch.testing.assert_close(task(batch).loss, alone.mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(task(rows(batch, [2, 0])).loss, alone[[2, 0]].mean(), atol=1e-5, rtol=1e-5)


@every_objective
def test_an_objective_of_weight_zero_is_not_there(objective_class):
    if small(objective_class, weight=0.0).factor:
        pytest.skip("a detached head has no weight")
    _, alone, batch = of(Pixels)
    config = recipe_of({"mine": small(Pixels), "other": small(objective_class, weight=0.0)})
    task = task_of(config)
    assert [*task.state_dict()] == [*alone.state_dict()]
    assert torch.equal(task(batch_of(config)).loss, alone(batch).loss)


@every_objective
def test_a_loss_for_each_token_has_what_is_logged_as_its_mean(objective_class):
    config, task, batch = of(objective_class)
    loss = task.objectives["mine"](task.look(batch))
    assert (loss.per_token_loss is not None) == objective_class.gives_per_token_loss
    if loss.per_token_loss is not None:
        assert loss.per_token_loss.shape == (len(batch), config.masker.budget(config.clip).total)
        torch.testing.assert_close(loss.per_token_loss.mean(), loss.terms["mine"])


@every_objective
def test_a_name_that_is_no_stream_is_refused_with_the_nearest_one(objective_class):
    default = small(objective_class)
    fields = [name for name in ("on", "of", "future") if name in chz.chz_fields(objective_class)]
    asked = {name: "secnd" if isinstance(getattr(default, name), str) else (CLIP, "secnd") for name in fields}
    if not asked:
        pytest.skip("no field names a stream")
    config = recipe_of({"mine": default}, streams={"second": Stream(masker=Random(ratio=0.5))})
    with pytest.raises(RecipeError, match=r"objectives\.mine reads a stream 'secnd'.*did you mean second\?"):
        chz.replace(config, objectives={"mine": small(objective_class, **asked)}).build(12)


@every_objective
def test_what_predicts_hidden_tubelets_refuses_a_stream_of_which_nothing_is_hidden(objective_class):
    config = recipe(objective_class)
    for stream in config.objectives["mine"].reconstructs:
        beside = {} if stream == CLIP else {stream: Stream(masker=Nothing())}
        bare = chz.replace(config, streams={**config.streams, **beside}, **({} if beside else {"masker": Nothing()}))
        with pytest.raises(RecipeError, match=r"masker=Nothing hides nothing; name another"):
            bare.build(12)


@every_objective
def test_it_is_a_frozen_config_that_a_recipe_keeps_and_words_set(objective_class):
    config, _, _ = of(objective_class)
    with pytest.raises(FrozenInstanceError):
        config.objectives["mine"].weight = 2.0
    assert from_plain(Pretrain, to_plain(config), "recipe.json") == config
    name = objective_class.__name__
    changed = override(config, [f"objectives.more={name}", "objectives.more.weight=0.5"])
    assert type(changed.objectives["more"]) is objective_class
    assert changed.objectives["more"].weight == 0.5
    with pytest.raises(RecipeError, match=r"objectives\.mine\.wieght.*did you mean objectives\.mine\.weight\?"):
        override(config, ["objectives.mine.wieght=1"])


@every_objective
def test_its_file_says_what_it_is(objective_class):
    assert sys.modules[objective_class.__module__].__doc__.startswith(objective_class.__name__)


@every_objective
def test_it_knows_the_step_from_the_batch_alone(objective_class):
    """A checkpoint holds everything else, so the loss of a step is the same in a run that was resumed there."""
    config, task, batch = of(objective_class)
    batch = replace(batch, step=3, progress=0.5)
    copy = task_of(config)
    copy.load_state_dict(task.state_dict())
    assert torch.equal(copy(batch).loss, task(batch).loss)
