"""The graph of sensors: nodes are devices, layers those of an independent loop, and a dead device changes no other."""

from dataclasses import replace

import pytest
import torch

from support.small_tasks import batch_of, recipe_of, task_of
from tubelet.errors import RecipeError
from tubelet.maskers import Random
from tubelet.models.patches import gather
from tubelet.objectives import Nodes
from tubelet.objectives.nodes import nodes_of
from tubelet.streams import Joint, Stream
from tubelet.types import Sensors

SENSORS = Sensors(frames=16, size=8, tubelet_frames=8, tubelet_size=4)


def task():
    stream = Stream(signal=SENSORS, masker=Random(ratio=0.25), tower=Joint())
    config = recipe_of({"graph": Nodes()}, streams={"sensors": stream})
    return task_of(config).eval(), batch_of(config)


def test_a_node_is_the_mean_of_the_visible_tokens_of_its_device():
    made, batch = task()
    seen = made.look(batch).of("sensors")
    found = nodes_of(seen.alone, seen.mask.visible, seen.clip)
    for clip in range(len(batch)):
        for device in range(4):
            where = seen.mask.visible[clip].tolist()
            own = [row for row, index in zip(seen.alone[clip], where, strict=True) if index % 4 == device]
            expected = torch.stack(own).mean(0) if own else torch.zeros(32)
            torch.testing.assert_close(found[clip, device], expected)
    nothing = nodes_of(seen.alone[:, :1], torch.zeros(len(batch), 1, dtype=torch.int64), seen.clip)
    assert (nothing[:, 1:] == 0).all()


def test_layers_are_those_of_an_independent_loop():
    made, _ = task()
    head = made.objectives["graph"]
    nodes = torch.randn(1, 4, 32)
    hidden = torch.tensor([[False, True, False, False]])
    found = head.predict(nodes, hidden)
    rows = [head.unknown if hidden[0, v] else nodes[0, v] for v in range(4)]
    rows = [row + head.place[v] for v, row in enumerate(rows)]
    for weight, mix in zip(head.self_weight, head.mix, strict=True):
        rows = [mix((1 + weight) * rows[v] + sum(rows[u] for u in range(4) if u != v)) for v in range(4)]
    torch.testing.assert_close(found[0], torch.stack(rows))


def test_what_is_replaced_does_not_enter_its_own_prediction():
    made, _ = task()
    head = made.objectives["graph"]
    nodes, hidden = torch.randn(2, 4, 32), torch.zeros(2, 4, dtype=torch.bool)
    hidden[:, 2] = True
    other = nodes.clone()
    other[:, 2] += 1
    assert torch.equal(head.predict(nodes, hidden), head.predict(other, hidden))


def test_a_dead_device_changes_no_node_of_another_before_they_are_mixed():
    made, batch = task()
    sensors = batch.streams["sensors"]
    dead = sensors.video.clone()
    dead[..., 1] = -2.0
    silent = replace(batch, streams={"sensors": replace(sensors, video=dead)})
    tower = made.towers["sensors"]
    views = [made.hide(one, "sensors") for one in (batch, silent)]
    tokens = [tower.early(gather(view.tubelets, view.mask.visible), view.mask.visible) for view in views]
    one, other = (nodes_of(some, views[0].mask.visible, SENSORS) for some in tokens)
    assert torch.equal(one[:, [0, 2, 3]], other[:, [0, 2, 3]]), "this tower has no blocks of its own"
    assert not torch.equal(one[:, 1], other[:, 1])


def test_one_device_is_no_graph():
    stream = Stream(signal=Sensors(devices=1), masker=Random(ratio=0.25), tower=Joint())
    with pytest.raises(RecipeError, match="has 1 device; a graph needs two"):
        task_of(recipe_of({"graph": Nodes()}, streams={"sensors": stream}))
    with pytest.raises(RecipeError, match="between 0 and 1"):
        Nodes(share=1.0)
