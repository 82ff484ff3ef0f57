"""The decoder that gets its tokens out of order."""

import torch

from support.small_tasks import SMALL, batch_of, recipe_of, rows, small, task_of
from tubelet.models import Decoder, Shuffled
from tubelet.models.shuffled import order
from tubelet.objectives import Predict

SIZE = {"width": 24, "depth": 1, "heads": 2}


def test_the_order_is_a_permutation_by_the_key_and_putting_it_back_restores_the_tokens():
    keys = torch.arange(50) * 7919
    found = order(keys, 16)
    assert (found.sort(1).values == torch.arange(16)).all()
    assert len({tuple(row) for row in found.tolist()}) == 50
    assert torch.equal(order(keys[[4, 2]], 16), found[[4, 2]])
    tokens = torch.randn(50, 16, 3)
    shuffled = Shuffled(**SIZE).arrange(tokens, keys)
    back = torch.empty_like(tokens).scatter(1, found[..., None].expand_as(tokens), shuffled)
    assert torch.equal(back, tokens)


def test_every_token_stands_at_every_place_equally_often():
    first = order(torch.arange(8000) * 31, 8)[:, 0]
    share = torch.bincount(first, minlength=8) / 8000
    assert (share - 1 / 8).abs().max() < 5 * (1 / 8 * 7 / 8 / 8000) ** 0.5


def test_the_decoder_is_the_usual_one_on_tokens_at_positions_that_are_not_theirs():
    configs = [recipe_of({"mine": small(Predict, decoder=kind(**SIZE))}) for kind in (Decoder, Shuffled)]
    plain, mixed = map(task_of, configs)
    assert all(torch.equal(value, mixed.state_dict()[name]) for name, value in plain.state_dict().items())
    batch = batch_of(configs[0])
    seen = plain.look(batch)
    arranged = Shuffled(**SIZE).arrange(seen.tokens, batch.key)
    head = plain.objectives["mine"]
    wanted = head.decode(seen, "clip", tokens=arranged)
    predicted = mixed.objectives["mine"].predict(mixed.look(batch))
    assert torch.equal(predicted, wanted)
    assert (predicted - head.predict(seen)).abs().max() > 1e-4
    part = mixed.objectives["mine"].predict(mixed.look(rows(batch, [2, 0])))
    torch.testing.assert_close(part, predicted[[2, 0]], atol=1e-5, rtol=1e-5)
    assert predicted.shape[-1] == SMALL.tubelet_values
