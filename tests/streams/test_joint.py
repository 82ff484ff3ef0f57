"""Streams that are encoded together: what meets, what does not, and what is left where one is missing."""

from dataclasses import replace

import chz
import pytest
import torch

from support.small_tasks import DECODER, SMALL, batch_of, gradients, recipe_of, rows, task_of
from tubelet.errors import RecipeError
from tubelet.maskers import Motion, Random
from tubelet.models import Vit
from tubelet.models.cross import Cross
from tubelet.objectives import InstanceContrast, Pixels, Predict, Regress
from tubelet.objectives.targets import Raw
from tubelet.streams import Joint, Own, Shared, Stream
from tubelet.types import CLIP, Sound

SOUND = Sound(frames=24, size=16, tubelet_frames=8, tubelet_size=8)
DEEP = Vit(width=32, depth=3, heads=2)
TOWERS = {
    "own": Own(encoder=Vit(width=32, depth=1, heads=2)),
    "shared": Shared(),
    "joint": Joint(),
    "fused": Joint(blocks=2, last=1),
}
every_tower = pytest.mark.parametrize("tower", TOWERS.values(), ids=TOWERS.keys())


def spectrogram(**fields):
    return Predict(on=("sound",), target=Raw(), decoder=DECODER, **fields)


def recipe(tower, objectives=None, **streams):
    sound = Stream(signal=SOUND, masker=Random(ratio=0.5), tower=tower)
    given = objectives or {"pixels": Pixels(decoder=DECODER), "spectrogram": spectrogram()}
    return chz.replace(recipe_of(given, streams={"sound": sound, **streams}), encoder=DEEP)


def with_other_sound(batch):
    sound = batch.streams["sound"]
    return replace(batch, streams={**batch.streams, "sound": replace(sound, video=sound.video.flip(0) + 1)})


def with_other_pixels(batch):
    return replace(batch, video=batch.video.flip(0))


@every_tower
def test_both_signals_are_predicted_and_all_weights_are_trained(tower):
    config = recipe(tower)
    task, batch = task_of(config), batch_of(config)
    found = gradients(task, batch)
    assert found.keys() == {name for name, _ in task.named_parameters()}
    assert all(gradient.abs().sum() > 0 for name, gradient in found.items() if name.endswith("weight"))
    terms = task(batch).terms
    assert {"pixels", "pixels.baseline", "spectrogram", "spectrogram.baseline"} <= terms.keys()


@every_tower
def test_only_streams_that_are_joined_see_one_another_and_before_that_none_does(tower):
    config = recipe(tower)
    task, batch = task_of(config).eval(), batch_of(config)
    seen = task.look(batch)
    joined = isinstance(tower, Joint)
    heard = task.look(with_other_sound(batch))
    assert torch.equal(heard.mask.visible, seen.mask.visible)
    assert torch.equal(heard.tokens, seen.tokens) != joined
    assert torch.equal(heard.alone, seen.alone), "of the clip"
    shown = task.look(with_other_pixels(batch))
    assert torch.equal(shown.of("sound").tokens, seen.of("sound").tokens) != joined
    assert torch.equal(shown.of("sound").alone, seen.of("sound").alone), "of the sound"


@every_tower
@pytest.mark.parametrize("objective", [InstanceContrast, Regress])
def test_what_compares_streams_sees_nothing_of_the_partner_in_an_embedding(tower, objective):
    fields = {"own_heads": True} if objective is Regress else {}
    views = objective(of=(CLIP, "sound"), hidden=8, width=8, **fields)
    config = recipe(tower, {"views": views, "spectrogram": spectrogram()})
    task, batch = task_of(config).eval(), batch_of(config)
    seen, other = task.look(batch), task.look(with_other_sound(batch))
    if objective is InstanceContrast:
        head = task.objectives["views"]
        assert torch.equal(head.views(seen)[0], head.views(other)[0])
        assert not torch.equal(head.views(seen)[1], head.views(other)[1])
    else:
        assert torch.equal(seen.alone, other.alone)


@every_tower
def test_without_the_stream_the_clip_is_encoded_as_by_the_exported_encoder(tower):
    config = recipe(tower)
    task, batch = task_of(config).eval(), batch_of(config)
    view = task.hide(batch, CLIP)
    alone = task.see({CLIP: view})
    exported = task.encoder(
        view.tubelets.gather(1, view.mask.visible[..., None].expand(-1, -1, view.tubelets.shape[-1])),
        view.mask.visible,
    )
    torch.testing.assert_close(alone.tokens, exported)
    assert alone.before is None


@every_tower
def test_a_sample_is_its_own_whatever_else_is_in_its_batch(tower):
    config = recipe(tower)
    task, batch = task_of(config).eval(), batch_of(config)
    seen, part = task.look(batch), task.look(rows(batch, [2, 0]))
    for name in (CLIP, "sound"):
        torch.testing.assert_close(part.of(name).tokens, seen.of(name).tokens[[2, 0]], atol=1e-5, rtol=1e-5)


def test_a_stream_of_another_signal_changes_no_mask_and_no_fresh_weight_of_what_is_there():
    plain = chz.replace(recipe_of({"pixels": Pixels(decoder=DECODER)}), encoder=DEEP)
    config = recipe(Joint(blocks=2, last=1), {"pixels": Pixels(decoder=DECODER)})
    before, after = task_of(plain), task_of(config)
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]), name
    one, two = before.look(batch_of(plain)), after.look(batch_of(config))
    assert torch.equal(one.mask.visible, two.mask.visible)


def test_inpainting_predicts_sound_from_the_clip_and_from_nothing_of_the_sound():
    decoder = Cross(width=24, depth=1, heads=2, attend_to=CLIP, inpaint=True)
    config = recipe(TOWERS["own"], {"spectrogram": Predict(on=("sound",), target=Raw(), decoder=decoder)})
    task, batch = task_of(config).eval(), batch_of(config)
    head = task.objectives["spectrogram"]
    first = head.predict(task.look(batch), "sound")
    assert torch.equal(head.predict(task.look(with_other_sound(batch)), "sound"), first)
    assert not torch.equal(head.predict(task.look(with_other_pixels(batch)), "sound"), first)
    with pytest.raises(RecipeError, match=r"name it with decoder\.attend_to"):
        Cross(inpaint=True)


def test_the_raw_target_of_a_signal_is_its_values_and_its_baseline_their_variance():
    config = recipe(TOWERS["own"])
    task, batch = task_of(config).eval(), batch_of(config)
    seen = task.look(batch).of("sound")
    hidden = torch.stack([seen.tubelets[row, index] for row, index in enumerate(seen.mask.decode)])
    scores = Raw().score(hidden, seen)
    assert scores.per_token.abs().max() == 0
    torch.testing.assert_close(scores.baseline, hidden.var(correction=0))


def test_what_cannot_be_is_refused_with_its_remedy():
    with pytest.raises(RecipeError, match="target=PerColour is made of pixels, and the stream sound holds none"):
        task_of(recipe(Joint(), {"pixels": Pixels(on=("sound",), decoder=DECODER)}))
    with pytest.raises(RecipeError, match="more than the 3 blocks"):
        task_of(recipe(Joint(last=4)))
    with pytest.raises(RecipeError, match="masker=Motion needs maps of motion"):
        Stream(signal=SOUND, masker=Motion())
    second = Stream(signal=SOUND, masker=Random(ratio=0.5), tower=Joint(last=2))
    config = recipe(Joint(last=1), second=second)
    with pytest.raises(RecipeError, match="give their towers one last"):
        task_of(config).look(batch_of(config))


def test_two_streams_may_meet_the_clip_together():
    second = Stream(signal=chz.replace(SOUND, frames=16), masker=Random(ratio=0.5), tower=Joint(last=1))
    config = recipe(Joint(blocks=1, last=1), second=second)
    task, batch = task_of(config).eval(), batch_of(config)
    seen, other = task.look(batch), task.look(with_other_sound(batch))
    assert not torch.equal(seen.of("second").tokens, other.of("second").tokens)
    assert torch.equal(seen.of("second").alone, other.of("second").alone)
    assert task.clip == SMALL
