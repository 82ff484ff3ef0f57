"""Pictures of what a run reads beside a clip, pixel by pixel."""

import pytest
import torch

from tubelet.evaluations import Context
from tubelet.evaluations.looks import components, keep_looks, masked, rebuilt, rows_of
from tubelet.loading.loader import eval_batches
from tubelet.loading.pairings import Still
from tubelet.maskers import Random
from tubelet.models import Cross
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.models.patches import cut
from tubelet.objectives import Denoise, Pixels, Predict
from tubelet.objectives.targets import Features
from tubelet.reports.pictures import load_looks
from tubelet.streams import Stream
from tubelet.tasks import Pretraining
from tubelet.teachers import Momentum

SMALL = Decoder(width=16, depth=1, heads=2)
FRAME = Stream(pairing=Still(), frames=1, tubelet_frames=1, masker=Random(ratio=0.5))


def task_of(clip, objectives, **parts):
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=1, heads=2).build(clip)
    return Pretraining(clip, encoder, Random(ratio=0.5), objectives, **parts).eval()


def seen_by(task, small, clip, data):
    batch = next(eval_batches(small, small.select("test")[:3], clip, data, batch=3, streams=task.reads))
    return task.look(batch)


@torch.no_grad()
def test_what_is_hidden_is_grey_what_is_predicted_is_drawn_and_all_else_is_the_frame_itself(small, clip, data):
    objectives = {"pixels": Pixels(decoder=SMALL), "frames": Pixels(on=("frame",), decoder=SMALL)}
    task = task_of(clip, objectives, streams={"frame": FRAME})
    whole = seen_by(task, small, clip, data)
    for stream, head in (("clip", task.objectives["pixels"]), ("frame", task.objectives["frames"])):
        seen = whole.of(stream)
        grey, made = (cut(video, seen.clip) for video in (masked(seen), rebuilt(head, whole, stream)))
        for index in range(len(seen.batch)):
            visible, hidden = seen.mask.visible[index], seen.mask.hidden[index]
            assert torch.equal(grey[index, visible], seen.tubelets[index, visible])
            assert torch.equal(made[index, visible], seen.tubelets[index, visible])
            assert (grey[index, hidden] == 128).all()
            assert not torch.equal(made[index, hidden], grey[index, hidden])
    titles = [row.title for row in rows_of(task, whole)]
    parts = ("frames", "visible", "reconstruction")
    streams = [f"{stream}: {part}" for stream in ("clip", "frame") for part in parts]
    assert titles == [*streams, "clip: a hole", "clip: completion"]


@torch.no_grad()
def test_a_teacher_that_tells_two_kinds_of_tubelets_apart_paints_them_in_two_colours(clip):
    kind = torch.arange(clip.num_tubelets) % 2
    tokens = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))[kind].expand(2, -1, -1)
    painted = cut(components(tokens, clip), clip).unflatten(-1, (3, -1))
    assert torch.equal(painted, painted[..., :1].expand_as(painted)), "a tubelet has one colour"
    first, second = (painted[:, kind == one, :1, 0] for one in (0, 1))
    assert (first != second).all()
    assert len(first.unique()) == len(second.unique()) == 1


@pytest.mark.parametrize("kept", ["streams", "teacher", "diffusion", "nothing"])
def test_they_are_kept_of_runs_with_streams_a_teacher_or_samples_and_of_no_other(kept, small, clip, data, tmp_path):
    latent = {"latent": Predict(target=Features(), decoder=SMALL)}
    task = {
        "streams": lambda: task_of(clip, {"pixels": Pixels(decoder=SMALL)}, streams={"frame": FRAME}),
        "teacher": lambda: task_of(clip, latent, teacher=Momentum()),
        "diffusion": lambda: task_of(clip, {"pixels": Denoise(decoder=Cross(width=16, depth=1, heads=2))}),
        "nothing": lambda: task_of(clip, {"pixels": Pixels(decoder=SMALL)}),
    }[kept]()
    keep_looks(Context(task.encoder, small, clip, data, task, folder=tmp_path))
    looks = load_looks(tmp_path)
    if kept == "nothing":
        assert looks is None
        return
    assert looks.pictures.shape == (len(looks.ids), len(looks.titles), 8, clip.size, clip.size, 3)
    assert 1 <= len(looks.ids) <= 6
    by_title = dict(zip(looks.titles.tolist(), looks.notes.tolist(), strict=True))
    if kept == "teacher":
        assert "clip: teacher tokens" in by_title
    if kept == "diffusion":
        assert "sampled in 10 steps" in by_title["clip: reconstruction"]
    keep_looks(Context(task.encoder, small, clip, data, task))
