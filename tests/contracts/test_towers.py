"""What every listed tower promises. A tower is tested by being listed in `tubelet.streams.TOWERS`."""

import sys

import pytest
import torch

from support.small_tasks import DECODER, SMALL, VIT, batch_of, recipe_of, task_of, video
from tubelet.config import from_plain, override, to_plain
from tubelet.maskers import Random
from tubelet.models import Vit
from tubelet.models.patches import cut, gather
from tubelet.objectives import Pixels
from tubelet.recipes.pretrain import Pretrain
from tubelet.streams import TOWERS, Bare, Own, Shared, Stream
from tubelet.types import Clip

every_tower = pytest.mark.parametrize(
    "tower_class", [cls for cls in TOWERS if cls is not Bare], ids=lambda c: c.__name__
)  # which makes no tokens: tests of captioning
CLIPS = {
    "equal": SMALL,
    "fewer frames": Clip(frames=2, size=32, tubelet_size=8),
    "larger": Clip(frames=4, size=48, tubelet_size=8),
    "other tubelets": Clip(frames=4, size=32, tubelet_frames=1, tubelet_size=16),
}


def small(tower_class):
    return Own(encoder=Vit(width=16, depth=1, heads=2)) if tower_class is Own else tower_class()


def built(tower_class, clip):
    torch.manual_seed(0)
    encoder = VIT.build(SMALL)
    return encoder, small(tower_class).build(encoder, clip)


@every_tower
@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS.keys())
def test_it_makes_a_token_of_its_width_of_every_visible_tubelet(tower_class, clip):
    encoder, tower = built(tower_class, clip)
    where = torch.stack([torch.randperm(clip.num_tubelets)[:3].sort().values for _ in range(2)])
    tubelets = gather(cut(video(clip, 2, 0), clip), where)
    tokens = tower(encoder, tubelets, where)
    assert tokens.shape == (2, 3, small(tower_class).width(encoder.width))
    assert torch.isfinite(tokens).all()
    alone = tower(encoder, tubelets[1:], where[1:])
    torch.testing.assert_close(alone, tokens[1:], atol=1e-5, rtol=1e-5)
    moved = tower(encoder, tubelets, where.flip(0))
    assert (where == where.flip(0)).all() or (moved - tokens).abs().max() > 1e-4, "positions count"


@every_tower
@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS.keys())
def test_its_weights_are_its_own_and_all_of_them_are_trained(tower_class, clip):
    encoder, tower = built(tower_class, clip)
    assert not {*map(id, tower.parameters())} & {*map(id, encoder.parameters())}
    everywhere = torch.arange(clip.num_tubelets).expand(2, -1)
    tower(encoder, cut(video(clip, 2, 0), clip), everywhere)[..., 0].square().sum().backward()
    assert all(value.grad is not None for value in tower.parameters())
    taught = [name for name, value in encoder.named_parameters() if value.grad is not None]
    assert bool(taught) == (tower_class is not Own)


def test_a_shared_tower_is_the_encoder_itself_where_the_clips_are_equal():
    encoder, tower = built(Shared, SMALL)
    clips = cut(video(SMALL, 2, 0), SMALL)
    everywhere = torch.arange(SMALL.num_tubelets).expand(2, -1)
    assert torch.equal(tower(encoder, clips, everywhere), encoder(clips, everywhere))
    assert not [*tower.parameters()]
    assert not tower.state_dict()


def test_a_shared_tower_has_an_embedding_of_its_own_where_tubelets_have_another_shape():
    _, tower = built(Shared, CLIPS["other tubelets"])
    assert [*tower.state_dict()] == ["embed.weight", "embed.bias"]
    assert not built(Shared, CLIPS["larger"])[1].state_dict()


@every_tower
def test_a_recipe_with_it_trains_keeps_it_and_words_name_it(tower_class):
    stream = Stream(masker=Random(ratio=0.5), tower=small(tower_class))
    config = recipe_of({"pixels": Pixels(on=("second",), decoder=DECODER)}, streams={"second": stream})
    task, batch = task_of(config), batch_of(config)
    assert torch.isfinite(task(batch).loss)
    assert from_plain(Pretrain, to_plain(config), "recipe.json") == config
    changed = override(config, [f"streams.second.tower={tower_class.__name__}"])
    assert changed.streams["second"].tower == tower_class()


@every_tower
def test_its_file_says_what_it_is(tower_class):
    assert sys.modules[tower_class.__module__].__doc__.startswith(tower_class.__name__)
