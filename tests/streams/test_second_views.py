"""Second views of signals that meet others: the weights of the first, tokens from before the same block."""

from dataclasses import replace

import chz
import pytest
import torch
from torch.nn import functional as F

from support.small_tasks import DECODER, batch_of, gradients, recipe_of, task_of
from tubelet.errors import RecipeError
from tubelet.maskers import Random
from tubelet.models import Vit
from tubelet.models.patches import gather
from tubelet.objectives import InstanceContrast, Pixels, Predict
from tubelet.objectives.targets import Features
from tubelet.streams import Joint, Own, Shared, Stream
from tubelet.teachers import FrozenJoint, Momentum
from tubelet.types import CLIP, Sound

SOUND = Sound(frames=24, size=16, tubelet_frames=8, tubelet_size=8)
DEEP = Vit(width=32, depth=3, heads=2)
HALF = Random(ratio=0.5)


def view(*of):
    return InstanceContrast(of=of, hidden=8, width=8)


def recipe(tower, objectives=None, teacher=None):
    streams = {
        "sound": Stream(signal=SOUND, masker=HALF, tower=tower),
        "second": Stream(masker=HALF),
        "second_sound": Stream(signal=SOUND, masker=HALF, tower=Shared(of="sound")),
    }
    objectives = objectives or {
        "pixels": Pixels(decoder=DECODER),
        "between": view(CLIP, "sound"),
        "clips": view(CLIP, "second"),
        "sounds": view("sound", "second_sound"),
    }
    return chz.replace(recipe_of(objectives, streams=streams, teacher=teacher), encoder=DEEP)


FUSED = Joint(blocks=2, last=1)


@pytest.mark.parametrize("tower", [FUSED, Joint(), Own(encoder=Vit(width=32, depth=1, heads=2))])
def test_a_view_with_the_same_mask_has_the_tokens_of_the_first_before_they_meet_others(tower):
    config = recipe(tower)
    task, batch = task_of(config).eval(), batch_of(config)
    streams = {**batch.streams, "second": batch, "second_sound": batch.streams["sound"]}
    views = {name: task.hide(replace(batch, streams=streams), name) for name in (CLIP, *streams)}
    for first, second in ((CLIP, "second"), ("sound", "second_sound")):
        views[second] = replace(views[second], mask=views[first].mask)
    seen = task.see(views)
    joined = isinstance(tower, Joint)
    for first, second in ((CLIP, "second"), ("sound", "second_sound")):
        torch.testing.assert_close(seen.of(first).alone, seen.of(second).alone)
        assert torch.equal(seen.of(first).tokens, seen.of(second).tokens) != joined, "the second meets none"


def test_what_a_view_is_before_it_meets_others_is_that_of_the_first_blocks_alone():
    config = recipe(FUSED)
    task, batch = task_of(config).eval(), batch_of(config)
    seen = task.look(batch).of("second")
    tubelets = gather(seen.tubelets, seen.mask.visible)
    x = task.encoder.embed_tubelets(tubelets, seen.mask.visible)
    for block in list(task.encoder.blocks)[:2]:
        x = block(x)
    torch.testing.assert_close(seen.alone, F.layer_norm(x, x.shape[-1:]))
    torch.testing.assert_close(seen.tokens, task.encoder.norm(task.encoder.blocks[2](x)))


def test_other_partners_change_no_embedding_that_is_compared():
    config = recipe(FUSED)
    task, batch = task_of(config).eval(), batch_of(config)
    seen = task.look(batch)
    for changed, same in (("sound", (CLIP, "second", "second_sound")), ("second", (CLIP, "sound", "second_sound"))):
        stream = batch.streams[changed]
        other = task.look(
            replace(batch, streams={**batch.streams, changed: replace(stream, video=stream.video.flip(0))})
        )
        assert not torch.equal(other.of(changed).alone, seen.of(changed).alone)
        assert all(torch.equal(other.of(name).alone, seen.of(name).alone) for name in same)


def test_a_shared_tower_adds_no_weight_and_all_that_there_are_are_trained():
    config = recipe(FUSED)
    task = task_of(config)
    assert not [name for name in task.state_dict() if name.startswith("towers.second")]
    found = gradients(task, batch_of(config))
    assert found.keys() == {name for name, _ in task.named_parameters()}
    without = gradients(task_of(recipe(FUSED, {"pixels": Pixels(decoder=DECODER)})), batch_of(config))
    name = "towers.sound.blocks.0.mlp.up.weight"
    assert not torch.equal(found[name], without[name]), "the contrasts train the stream's own blocks"


def test_a_running_average_follows_what_both_views_share():
    objectives = {"views": chz.replace(view("sound", "second_sound"), by="teacher")}
    config = recipe(FUSED, objectives, Momentum())
    task, batch = task_of(config), batch_of(config)
    taught = task.look(batch).of("second_sound").teacher.tokens
    whole = task.towers["sound"](task.encoder, *full(batch.streams["second_sound"].video, SOUND))
    torch.testing.assert_close(taught, whole)


def full(video, clip):
    from tubelet.models.patches import cut

    return cut(video, clip), torch.arange(clip.num_tubelets).expand(len(video), -1)


@pytest.mark.parametrize("of", ["missing", "second"])
def test_weights_of_no_stream_with_its_own_are_refused(of):
    config = recipe(FUSED)
    second = Stream(signal=SOUND, masker=HALF, tower=Shared(of=of))
    with pytest.raises(RecipeError, match=rf"streams\.second_sound\.tower\.of={of} must be a stream of equal clips"):
        chz.replace(config, streams={**config.streams, "second_sound": second}).build(None)


def features(on):
    return Predict(on=(on,), target=Features(), decoder=DECODER)


def taught():
    """A student, and a teacher that is another network."""
    streams = {"sound": Stream(signal=SOUND, masker=HALF, tower=FUSED)}
    teacher = FrozenJoint(init="runs/somewhere", encoder=DEEP, clip=recipe(FUSED).clip, streams=streams)
    config = recipe(FUSED, {"clip": features(CLIP), "sound": features("sound"), "views": view(CLIP, "second")}, teacher)
    return task_of(config).eval(), batch_of(config)


def test_a_joint_teacher_sees_both_signals_whole_and_no_view_of_the_student():
    task, batch = taught()
    seen = task.look(batch)
    teacher = task.teacher
    clip = teacher.encoder.embed_tubelets(*full(batch.video, task.clip))
    for block in list(teacher.encoder.blocks)[:2]:
        clip = block(clip)
    sound = teacher.towers["sound"].early(*full(batch.streams["sound"].video, SOUND))
    both = teacher.encoder.norm(teacher.encoder.blocks[2](torch.cat((clip, sound), 1)))
    torch.testing.assert_close(seen.teacher.tokens, both[:, : clip.shape[1]])
    torch.testing.assert_close(seen.of("sound").teacher.tokens, both[:, clip.shape[1] :])
    assert seen.of("second").teacher is None
    assert not [name for name in gradients(task, batch) if name.startswith("teacher")]
    sound = batch.streams["sound"]
    other = task.look(replace(batch, streams={**batch.streams, "sound": replace(sound, video=sound.video.flip(0))}))
    assert not torch.equal(other.teacher.tokens, seen.teacher.tokens), "the teacher of the clip hears its sound"


def test_a_joint_teacher_of_other_clips_is_refused():
    streams = {"sound": Stream(signal=chz.replace(SOUND, frames=16), masker=HALF, tower=FUSED)}
    teacher = FrozenJoint(init="runs/somewhere", encoder=DEEP, clip=recipe(FUSED).clip, streams=streams)
    with pytest.raises(RecipeError, match="the teacher was trained on Sound"):
        task_of(recipe(FUSED, {"sound": features("sound")}, teacher))
