"""Streaming: fixed where nothing is learned, online by an independent loop, and what the order changes."""

import copy

import pytest
import torch

from support.small_tasks import DECODER, SMALL, batch_of, recipe_of, task_of
from tubelet.corpus.write import write_corpus
from tubelet.errors import RecipeError
from tubelet.evaluations import Context, Streaming
from tubelet.evaluations.streaming import WAYS, adapt, drifted, trainable
from tubelet.loading.data import Data
from tubelet.objectives import Pixels, Predict
from tubelet.objectives.targets import Features
from tubelet.types import Batch

COUNT = 5
KEYS = [11 * number for number in range(COUNT)]


def made():
    config = recipe_of({"pixels": Pixels(decoder=DECODER)})
    return task_of(config).eval(), batch_of(config, count=COUNT).video


def features(way, task, stream, **fields):
    return torch.stack([*Streaming(**fields).features_of(way, task, stream, KEYS, [3, 0, 4, 1, 2])])


def test_without_a_step_every_way_is_the_encoder_as_it_is():
    task, stream = made()
    plain = task.encoder.encode(stream).mean(1)
    for way in WAYS:
        torch.testing.assert_close(features(way, task, stream, iterations=0), plain)


def test_online_is_a_loop_over_the_clips_so_far_and_the_run_stays_as_it_is():
    task, stream = made()
    before = copy.deepcopy(task.state_dict())
    found = [*adapt(task, stream, KEYS, window=2, iterations=2, lr=1e-3)]
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    model = copy.deepcopy(task)
    for now in range(COUNT):
        seen = [now - 1, now] if now else [0]
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for step in range(2):
            batch = Batch(stream[seen], torch.tensor([KEYS[index] + step for index in seen]), ("",) * len(seen))
            optimizer.zero_grad()
            model(batch).loss.backward()
            optimizer.step()
        expected = model.encoder.encode(stream[now : now + 1]).mean(1)[0]
        torch.testing.assert_close(found[now], expected, atol=1e-5, rtol=1e-4)


def test_only_clips_so_far_count_online_and_all_of_them_offline():
    task, stream = made()
    other = stream.clone()
    other[-1] = 255 - other[-1]
    fields = {"window": 2, "lr": 1e-2}
    same = (features("online", task, stream, **fields) == features("online", task, other, **fields)).all(1)
    assert same.tolist() == [True] * (COUNT - 1) + [False]
    assert not torch.equal(
        features("offline", task, stream, **fields)[0], features("offline", task, other, **fields)[0]
    )


def test_order_matters_online_alone_among_clips_that_are_otherwise_the_same():
    task, stream = made()
    turned = torch.stack([*adapt(task, stream.flip(0), KEYS[::-1], window=1, lr=1e-2)]).flip(0)
    straight = torch.stack([*adapt(task, stream, KEYS, window=1, lr=1e-2)])
    assert (turned - straight).abs().max() > 1e-4
    fixed = features("fixed", task, stream)
    torch.testing.assert_close(features("fixed", task, stream.flip(0)).flip(0), fixed)


def test_the_first_clip_keeps_its_light_and_the_last_loses_most_of_its_blue():
    stream = torch.full((3, 3, 1, 2, 2), 200, dtype=torch.uint8)
    found = drifted(stream, 0.5)[:, :, 0, 0, 0].tolist()
    assert found == [[200, 200, 200], [200, 175, 150], [200, 150, 100]]
    assert torch.equal(drifted(stream, 0.0), stream)


def test_what_cannot_go_on_learning_is_refused(tmp_path):
    config = recipe_of({"features": Predict(target=Features(), decoder=DECODER)})
    context = Context(task_of(config).encoder, write_corpus(tmp_path, "none", []), SMALL, Data(), task=task_of(config))
    with pytest.raises(RecipeError, match="needs a run that predicts pixels of its clips"):
        trainable(context)
    for wrong in ({"drift": 1.0}, {"window": 0}, {"lr": 0.0}):
        with pytest.raises(RecipeError, match="must be"):
            Streaming(**wrong)
