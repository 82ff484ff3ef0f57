"""A frame finds its clip: against a plain loop, and what has no such pair is refused."""

import pytest
import torch

from tubelet.errors import RecipeError
from tubelet.evaluations import Context, CrossRetrieval
from tubelet.evaluations.cross_retrieval import look_at_all
from tubelet.loading.loader import eval_batches
from tubelet.loading.pairings import Again, Still
from tubelet.maskers import Random
from tubelet.models.encoder import Vit
from tubelet.objectives import InstanceContrast
from tubelet.streams import Stream
from tubelet.tasks import Pretraining
from tubelet.teachers import Momentum
from tubelet.types import CLIP

FRAME = Stream(pairing=Still(), frames=1, tubelet_frames=1, masker=Random(ratio=0.5))


def task_of(clip, objectives, streams, **parts):
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=1, heads=2).build(clip)
    return Pretraining(clip, encoder, Random(ratio=0.5), objectives, streams=streams, **parts)


def context_of(task, small, clip, data):
    return Context(task.encoder, small, clip, data, task)


def frames(**fields):
    return InstanceContrast(of=(CLIP, "frame"), hidden=16, width=8, **fields)


def test_recall_is_that_of_a_plain_loop_over_whole_clips_and_whole_frames(small, clip, data):
    task = task_of(clip, {"frames": frames()}, {"frame": FRAME})
    task.train()
    result = CrossRetrieval(samples=50).run(context_of(task, small, clip, data))
    assert task.training
    clips, stills = [], []
    for batch in eval_batches(small, small.select("test"), clip, data, batch=3, streams=task.reads):
        for number in range(len(batch)):
            still = batch.streams["frame"].video[number : number + 1]
            whole = batch.video[number : number + 1]
            with torch.no_grad():
                clips.append(task.objectives["frames"].project(task.encoder.encode(whole).mean(1))[0])
                seen = look_at_all(task, batch).streams["frame"]
                stills.append(task.objectives["frames"].project(seen.tokens[number : number + 1].mean(1))[0])
            assert seen.tokens.shape[1] == 4, "nothing is hidden"
            assert any(torch.equal(still[0, :, 0], frame) for frame in whole[0].unbind(1)), "it is a frame of the clip"
    right = 0
    for number, still in enumerate(stills):
        scores = [torch.cosine_similarity(still, one, dim=0).item() for one in clips]
        right += scores[number] > max(scores[:number] + scores[number + 1 :])
    metric = result.metrics["frames.frame_to_clip.r@1"]
    assert metric.value == pytest.approx(right / len(stills))
    assert metric.chance == pytest.approx(1 / len(stills))
    assert {*result.references} == {"frames.pixels.frame_to_clip.r@1", "frames.pixels.clip_to_frame.r@1"}


def test_a_head_that_tells_nothing_apart_finds_nothing(small, clip, data):
    task = task_of(clip, {"frames": frames()}, {"frame": FRAME})
    torch.nn.init.zeros_(task.objectives["frames"].project[-1].weight)
    result = CrossRetrieval(samples=50).run(context_of(task, small, clip, data))
    assert result.metrics["frames.frame_to_clip.r@1"].value == 0


def test_a_teacher_gives_the_second_side_and_a_stream_of_the_clips_own_pixels_is_left_out(small, clip, data):
    streams = {"frame": FRAME, "second": Stream(pairing=Again())}
    objectives = {"frames": frames(by="teacher"), "views": InstanceContrast(hidden=16, width=8)}
    task = task_of(clip, objectives, streams, teacher=Momentum())
    result = CrossRetrieval(samples=50).run(context_of(task, small, clip, data))
    assert {name.partition(".")[0] for name in result.metrics} == {"frames"}
    assert result.notes == ["views is not measured: second, not augmented, shows the pixels of clip"]


def test_what_contrasts_no_streams_is_refused(small, clip, data):
    task = task_of(clip, {}, {})
    with pytest.raises(RecipeError, match=r"objectives\.views=InstanceContrast"):
        CrossRetrieval().run(context_of(task, small, clip, data))
