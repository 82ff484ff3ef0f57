"""Matching: half of the pairs are swapped, by key, never with a clip of the same source; an independent loop agrees."""

import torch
from torch.nn import functional as F

from support.small_tasks import SMALL, batch_of, recipe_of, task_of
from tubelet.maskers import Random
from tubelet.objectives import Match
from tubelet.objectives.match import pairs
from tubelet.seeds import fold
from tubelet.streams import Joint, Stream
from tubelet.types import Sound

SOUND = Sound(frames=24, size=16, tubelet_frames=8, tubelet_size=8)


def keys(count: int, seed: int = 0):
    return torch.arange(count) * 7919 + seed


def test_half_are_swapped_with_another_source_as_their_keys_say():
    for count in (2, 7, 32):
        for seed in range(20):
            source = torch.arange(count) // 2 if count == 32 else torch.arange(count)
            matched, partner = pairs(keys(count, seed), source)
            assert int(matched.sum()) == (count + 1) // 2
            own = torch.arange(count)
            assert torch.equal(partner[matched], own[matched])
            assert (source[partner[~matched]] != source[~matched]).all()
            again, same = pairs(keys(count, seed), source)
            assert torch.equal(matched, again)
            assert torch.equal(partner, same)
    first, other = (pairs(keys(32, seed), torch.arange(32))[0] for seed in (0, 1))
    assert not torch.equal(first, other)


def test_clips_of_one_source_alone_stay_matched():
    for count in (1, 4):
        matched, partner = pairs(keys(count), torch.zeros(count, dtype=torch.int64))
        assert matched.all()
        assert torch.equal(partner, torch.arange(count))


def test_the_loss_is_that_of_an_independent_loop_and_swapping_is_what_it_sees():
    sound = Stream(signal=SOUND, masker=Random(ratio=0.5), tower=Joint())
    config = recipe_of({"mine": Match(width=24, heads=2)}, streams={"sound": sound})
    task, batch = task_of(config).eval(), batch_of(config, count=6)
    seen = task.look(batch)
    head = task.objectives["mine"]
    matched, partner = pairs(fold(batch.key, "mine"), batch.source)
    costs, right = [], 0
    for clip in range(6):
        x = head.asks(seen.alone[clip : clip + 1])
        y = head.answers(seen.of("sound").alone[partner[clip] : partner[clip] + 1])
        score = head.head(head.block(x, y).mean(1))[0, 0]
        sign = 1.0 if matched[clip] else -1.0
        costs.append(-F.logsigmoid(sign * score))
        right += int((score > 0) == matched[clip])
    loss = head(seen)
    torch.testing.assert_close(loss.value, torch.stack(costs).mean())
    assert loss.terms["mine.accuracy"].item() * 6 == right
    assert task.clip == SMALL
