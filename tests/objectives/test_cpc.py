"""Predicting the future among others: causality comes from the masks, and the loss is a plain loop's."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from support.tasks import batch_of, task_of, with_other_pixels
from tubelet.errors import RecipeError
from tubelet.maskers import Frame, Future, Nothing, Past, Random
from tubelet.objectives import Cpc
from tubelet.streams import Stream
from tubelet.types import Clip

CLIP = Clip(frames=8, size=16, tubelet_size=8)  # 4 time steps of 4 positions


def cpc(masker=None, later=None):
    streams = {"future": Stream(masker=later or Past(ratio=0.5))}
    return task_of({"cpc": Cpc(width=12)}, masker or Future(ratio=0.5), streams, clip=CLIP)


def batch(count=3, seed=0):
    one = batch_of(count, seed, CLIP)
    return replace(one, streams={"future": one})  # the same frames, as `Same` reads them


def tubelets(*steps, count=3):
    return torch.cat([torch.arange(4) + 4 * step for step in steps]).expand(count, -1)


def test_what_is_predicted_never_enters_the_context_and_the_context_never_the_candidates():
    task, whole = cpc(), batch()
    seen = task.look(whole)
    for changed, kept in (((2, 3), "clip"), ((0, 1), "future")):
        other = with_other_pixels(batch_of(3, clip=CLIP), tubelets(*changed), CLIP)
        looked = task.look(replace(other, streams={"future": other}))
        for stream in ("clip", "future"):
            assert torch.equal(looked.of(stream).tokens, seen.of(stream).tokens) == (stream == kept)


def test_the_baseline_is_the_log_of_the_candidates_and_untrained_it_is_near_that():
    terms = cpc()(batch()).terms
    assert terms["cpc.baseline"].item() == pytest.approx(math.log(3 * 2))
    assert terms["cpc"].item() == pytest.approx(math.log(6), abs=1.5)


@pytest.mark.parametrize("later", [Past(ratio=0.5), Past(ratio=0.25), Frame(ratio=0.5), Nothing()], ids=str)
def test_the_loss_is_that_of_a_plain_loop_over_clips_and_time_steps(later):
    task = cpc(later=later)
    seen, head = task.look(batch()), task.objectives["cpc"]
    future = seen.of("future")
    ahead = head.ahead.weight.detach().double().numpy().reshape(4, 12, 32)
    found = head.found.weight.detach().double().numpy()
    candidates, asked = [], []
    for clip in range(3):
        context = seen.tokens[clip].detach().double().numpy().mean(0)
        where = future.mask.visible[clip].numpy()
        for step in np.unique(where // 4):
            mean = future.tokens[clip].detach().double().numpy()[where // 4 == step].mean(0)
            candidates.append(found @ mean / np.linalg.norm(found @ mean))
            asked.append(ahead[step] @ context / np.linalg.norm(ahead[step] @ context))
    logits = np.array(asked) @ np.array(candidates).T / 0.1
    wanted = np.mean([np.log(np.exp(row).sum()) - row[number] for number, row in enumerate(logits)])
    assert head(seen).value.item() == pytest.approx(wanted, rel=1e-4)


def test_a_mask_that_leaves_a_part_of_a_time_step_is_refused():
    with pytest.raises(ValueError, match="reads whole time steps; take masker=Past"):
        cpc(later=Random(ratio=0.5))(batch())


def test_a_stream_that_is_not_there_is_refused_by_its_nearest_name():
    with pytest.raises(RecipeError, match="reads a stream 'futur', and this recipe has none; did you mean future"):
        task_of({"cpc": Cpc(future="futur")}, streams={"future": Stream()})
