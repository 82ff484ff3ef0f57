"""What is missing is not encoded: a stream that is left out, and devices that are switched off, change nothing else."""

import pytest
import torch

from support.small_tasks import DECODER, batch_of, recipe_of, task_of
from tubelet.corpus.write import write_corpus
from tubelet.errors import RecipeError
from tubelet.evaluations import Context, Missing
from tubelet.evaluations.missing import conditions_of, whole
from tubelet.loading.data import Data
from tubelet.maskers import Random
from tubelet.objectives import Pixels
from tubelet.streams import Joint, Shared, Stream, encode
from tubelet.types import CLIP, Sensors

SENSORS = Sensors(frames=16, size=8, tubelet_frames=8, tubelet_size=4, devices=4)


def made(tower=None):
    stream = Stream(signal=SENSORS, masker=Random(ratio=0.25), tower=tower or Joint())
    config = recipe_of({"pixels": Pixels(decoder=DECODER)}, streams={"sensors": stream})
    task, batch = task_of(config).eval(), batch_of(config)
    return task, {name: whole(task, batch.of(name), name) for name in (CLIP, "sensors")}


def test_every_signal_is_left_out_once_and_half_of_the_devices():
    task, seen = made()
    conditions = conditions_of(task)
    assert [*conditions] == ["all", "without_clip", "without_sensors", "half_of_sensors"]
    assert {name: [*left(seen)] for name, left in conditions.items()} == {
        "all": [CLIP, "sensors"],
        "without_clip": ["sensors"],
        "without_sensors": [CLIP],
        "half_of_sensors": [CLIP, "sensors"],
    }
    tubelets, where = conditions["half_of_sensors"](seen)["sensors"]
    assert where.shape[1] == SENSORS.num_tubelets // 2
    assert set((where % 4).flatten().tolist()) == {0, 2}
    assert torch.equal(tubelets, seen["sensors"][0][:, where[0]])


def test_without_its_streams_the_clip_is_encoded_as_by_the_encoder_alone():
    task, seen = made()
    alone = encode(task.encoder, dict(task.towers.items()), conditions_of(task)["without_sensors"](seen))
    torch.testing.assert_close(alone[CLIP].tokens, task.encoder(*seen[CLIP]))


def test_what_a_device_that_is_switched_off_says_changes_nothing():
    task, seen = made()
    tubelets, where = seen["sensors"]
    other = tubelets.clone()
    other[:, where[0] % 4 == 1] += 5.0
    half, towers = conditions_of(task)["half_of_sensors"], dict(task.towers.items())
    one = encode(task.encoder, towers, half(seen))
    two = encode(task.encoder, towers, half({**seen, "sensors": (other, where)}))
    assert torch.equal(one[CLIP].tokens, two[CLIP].tokens)


def test_a_run_whose_streams_are_apart_is_refused(tmp_path):
    task, _ = made(Shared())
    corpus = write_corpus(tmp_path, "empty", [{"id": "a", "path": tmp_path / "a.mp4", "end": 1.0}])
    with pytest.raises(RecipeError, match="needs a run whose streams are encoded with the clip"):
        Missing().run(Context(task.encoder, corpus, task.clip, Data(), task=task))
