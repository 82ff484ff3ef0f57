"""What every listed teacher promises. A teacher is tested by being listed in `tubelet.teachers.TEACHERS`."""

import sys
from dataclasses import replace

import chz
import pytest
import torch

from support.small_tasks import SMALL, batch_of, gradients, recipe_of, rows, small, small_teacher, task_of
from tubelet.config import from_plain, override, to_plain
from tubelet.errors import RecipeError
from tubelet.maskers import Random
from tubelet.objectives import Predict
from tubelet.objectives.targets import Features
from tubelet.recipes.pretrain import Pretrain
from tubelet.streams import Stream
from tubelet.teachers import TEACHERS, Aligned, Frozen, Momentum, NoTeacher
from tubelet.types import CLIP, Clip

every_teacher = pytest.mark.parametrize("teacher_class", TEACHERS, ids=lambda c: c.__name__)
every_that_teaches = pytest.mark.parametrize(
    "teacher_class", [cls for cls in TEACHERS if cls is not NoTeacher], ids=lambda c: c.__name__
)
BESIDE = {"second": Stream(masker=Random(ratio=0.5))}


def of(teacher_class, folder, on=(CLIP,), streams=None):
    objective = small(Predict, on=on, target=Features())
    config = recipe_of({"mine": objective}, streams=streams, teacher=small_teacher(teacher_class, folder))
    return config, task_of(config), batch_of(config)


@every_that_teaches
@pytest.mark.parametrize("stream", [CLIP, "second"])
def test_it_makes_a_token_of_every_tubelet_with_nothing_hidden_and_without_gradient(teacher_class, stream, tmp_path):
    config, task, batch = of(teacher_class, tmp_path, on=(stream,), streams=BESIDE)
    seen = task.look(batch).of(stream)
    assert seen.teacher.tokens.shape == (4, SMALL.num_tubelets, config.teacher.width(32))
    assert seen.teacher.mask.visible.tolist() == [list(range(SMALL.num_tubelets))] * 4
    assert not seen.teacher.tokens.requires_grad
    assert not any(value.requires_grad for value in task.teacher.parameters())
    assert not [name for name in gradients(task, batch) if name.startswith("teacher.")]


@every_that_teaches
def test_it_is_asked_only_of_streams_that_an_objective_learns_from(teacher_class, tmp_path):
    _, task, batch = of(teacher_class, tmp_path, streams=BESIDE)
    seen = task.look(batch)
    assert seen.teacher is not None
    assert seen.of("second").teacher is None


@every_that_teaches
def test_no_clip_changes_what_it_makes_of_another_and_no_mask_does(teacher_class, tmp_path):
    _, task, batch = of(teacher_class, tmp_path)
    tokens = task.look(batch).teacher.tokens
    part = task.look(rows(batch, [2, 0])).teacher.tokens
    torch.testing.assert_close(part, tokens[[2, 0]], atol=1e-5, rtol=1e-5)
    other = task.look(replace(batch, key=batch.key + 1))
    assert torch.equal(other.teacher.tokens, tokens)


@every_that_teaches
def test_only_what_is_said_to_move_moves_and_a_checkpoint_brings_it_back(teacher_class, tmp_path):
    config, task, batch = of(teacher_class, tmp_path)
    before = {name: value.clone() for name, value in task.teacher.state_dict().items()}
    optimizer = config.optim.build(task)
    gradients(task, batch)
    optimizer.step()
    after = task.teacher.state_dict()
    moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert bool(moved) == (teacher_class is Momentum)
    again = task_of(config)
    again.load_state_dict(task.state_dict())
    assert torch.equal(again.look(batch).teacher.tokens, task.look(batch).teacher.tokens)


def test_a_momentum_teacher_is_the_running_average_of_encoder_and_towers(tmp_path):
    config, task, batch = of(Momentum, tmp_path)
    weight = task.encoder.embed.weight
    average, decays = weight.detach().clone(), []
    optimizer = config.optim.build(task)
    for step in range(3):
        gradients(task, batch)
        optimizer.step()
        decays.append(min((1 + step) / (10 + step), config.teacher.decay))
        average = decays[-1] * average + (1 - decays[-1]) * weight.detach()
    torch.testing.assert_close(task.teacher.average.model.encoder.embed.weight, average)


@pytest.mark.parametrize("clip", [Clip(frames=2, size=32, tubelet_size=8), Clip(frames=4, size=32)], ids=str)
def test_a_frozen_teacher_of_another_grid_is_refused(clip, tmp_path):
    config, _, _ = of(Frozen, tmp_path)
    other = chz.replace(config, teacher=chz.replace(config.teacher, clip=clip))
    with pytest.raises(RecipeError, match="the grids must be equal, so that each token has one to learn from"):
        other.build(None)


def test_a_frozen_teacher_of_larger_frames_and_an_equal_grid_sees_them_resized(tmp_path):
    config, _, batch = of(Frozen, tmp_path)
    larger = Clip(frames=4, size=64, tubelet_size=16)
    task = task_of(chz.replace(config, teacher=chz.replace(config.teacher, clip=larger)))
    assert task.look(batch).teacher.tokens.shape == (4, SMALL.num_tubelets, 16)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (NoTeacher(), "learns from a teacher, and there is none; name one with teacher=Momentum"),
        (Frozen(), r"teacher=Frozen needs a source: name it with teacher\.init=RUN"),
        (Frozen(init="runs/a"), r"its size is unknown; give teacher\.encoder and teacher\.clip"),
        (Aligned(), r"teacher=Aligned needs an aligner: name it with teacher\.aligner=CORPUS/aligner"),
    ],
)
def test_a_teacher_that_is_not_there_is_refused_with_the_remedy(teacher, said, tmp_path):
    config, _, _ = of(Momentum, tmp_path)
    with pytest.raises(RecipeError, match=said):
        chz.replace(config, teacher=teacher).build(None)


def test_the_weights_of_an_aligner_are_no_part_of_a_checkpoint(tmp_path):
    _, task, _ = of(Aligned, tmp_path)
    assert not [name for name in task.state_dict() if name.startswith("teacher.")]


@every_teacher
def test_a_recipe_keeps_it_and_words_name_it(teacher_class, tmp_path):
    config = recipe_of({"pixels": small(Predict)}, teacher=small_teacher(teacher_class, tmp_path))
    assert from_plain(Pretrain, to_plain(config), "recipe.json") == config
    assert override(config, [f"teacher={teacher_class.__name__}"]).teacher == teacher_class()


@every_teacher
def test_its_file_says_what_it_is(teacher_class):
    story = sys.modules[teacher_class.__module__].__doc__
    assert story.startswith(teacher_class.__name__) or teacher_class is NoTeacher
