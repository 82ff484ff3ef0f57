"""What every listed decoder promises. A decoder is tested by being listed in `tubelet.models.DECODERS`."""

import sys
from dataclasses import replace

import chz
import pytest
import torch

from support.small_tasks import DECODER, SMALL, batch_of, recipe_of, rows, small, task_of
from tubelet.config import from_plain, override, to_plain
from tubelet.models import DECODERS, Decoder
from tubelet.objectives import Predict
from tubelet.recipes.pretrain import Pretrain

every_decoder = pytest.mark.parametrize("decoder_class", DECODERS, ids=lambda c: c.__name__)
SIZE = {"width": 24, "depth": 2, "heads": 2}


def built(decoder_class, **more):
    torch.manual_seed(0)
    return decoder_class(**SIZE, **more).build(32, SMALL, 10)


def inputs(count=3, seed=1):
    """Tokens, what of a clip is visible, and what is decoded."""
    random = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(SMALL.num_tubelets, generator=random) for _ in range(count)])
    return torch.randn(count, 12, 32, generator=random), order[:, :12].sort().values, order[:, 12:20].sort().values


@every_decoder
def test_it_predicts_so_many_numbers_of_every_decoded_tubelet(decoder_class):
    assert built(decoder_class)(*inputs()).shape == (3, 8, 10)
    whole = decoder_class(**SIZE).build(32, SMALL)
    assert whole(*inputs()).shape == (3, 8, SMALL.tubelet_values)


@every_decoder
def test_a_clip_is_decoded_alike_in_any_batch_and_no_clip_changes_another(decoder_class):
    decoder, (tokens, visible, decode) = built(decoder_class), inputs()
    whole = decoder(tokens, visible, decode)
    part = decoder(tokens[[2, 0]], visible[[2, 0]], decode[[2, 0]])
    torch.testing.assert_close(part, whole[[2, 0]], atol=1e-5, rtol=1e-5)
    changed = tokens.clone()
    changed[1] += 1
    after = decoder(changed, visible, decode)
    torch.testing.assert_close(after[[0, 2]], whole[[0, 2]], atol=1e-6, rtol=0)
    assert (after[1] - whole[1]).abs().max() > 1e-4


@every_decoder
def test_what_is_predicted_depends_on_where_it_is(decoder_class):
    decoder, (tokens, visible, decode) = built(decoder_class), inputs()
    with torch.no_grad():
        predicted = decoder(tokens, visible, decode)
    assert (predicted[:, 1:] - predicted[:, :1]).abs().amax(-1).min() > 1e-6


@every_decoder
def test_every_weight_takes_part(decoder_class):
    decoder = built(decoder_class)
    decoder(*inputs()).square().sum().backward()
    assert all(value.grad is not None and (value.grad != 0).any() for value in decoder.parameters())


@every_decoder
def test_without_a_memory_it_wants_none(decoder_class):
    assert decoder_class(**SIZE).memory == ""


MEMORIES = [cls for cls in DECODERS if "attend_to" in chz.chz_fields(cls)]


@pytest.mark.parametrize("decoder_class", MEMORIES, ids=lambda c: c.__name__)
def test_with_a_memory_the_prediction_is_of_the_clips_own_memory_alone(decoder_class):
    config = recipe_of({"mine": small(Predict, on=("later",), decoder=decoder_class(**SIZE, attend_to="clip"))})
    assert config.objectives["mine"].streams == ("later", "clip")
    task, batch = task_of(config), batch_of(config)
    head = task.objectives["mine"]
    before = head.predict(task.look(batch), "later")
    video = batch.video.clone()
    video[1] = 255 - video[1]
    after = head.predict(task.look(replace(batch, video=video)), "later")
    assert torch.equal(after[[0, 2, 3]], before[[0, 2, 3]])
    assert (after[1] - before[1]).abs().max() > 1e-4
    part = head.predict(task.look(rows(batch, [2, 0])), "later")
    torch.testing.assert_close(part, before[[2, 0]], atol=1e-5, rtol=1e-5)


@every_decoder
def test_a_recipe_keeps_it_and_words_name_it(decoder_class):
    config = recipe_of({"mine": small(Predict, decoder=decoder_class(**SIZE))})
    assert from_plain(Pretrain, to_plain(config), "recipe.json") == config
    words = [f"objectives.mine.decoder={decoder_class.__name__}", "objectives.mine.decoder.depth=3"]
    changed = override(recipe_of({"mine": small(Predict, decoder=DECODER)}), words).objectives["mine"].decoder
    assert type(changed) is decoder_class
    assert changed == decoder_class(depth=3), "nothing is left of the decoder before"


@every_decoder
def test_its_file_says_where_it_is_from(decoder_class):
    story = sys.modules[decoder_class.__module__].__doc__
    assert "arXiv" in story or decoder_class is Decoder
