"""Energy: VideoMAE's loss, differentiable to pixels; noise costs more than video once a run has learned something."""

import pytest
import torch

from tubelet.errors import RecipeError
from tubelet.evaluations import Context, Energy
from tubelet.evaluations.energy import reconstruction_energy, standardised
from tubelet.maskers import Adaptive, Text, Tube
from tubelet.models import Decoder, Vit
from tubelet.models.patches import cut
from tubelet.objectives import Contrast, Pixels
from tubelet.objectives.targets import Raw
from tubelet.objectives.targets.per_colour import normalise
from tubelet.tasks import Pretraining
from tubelet.types import Batch, Clip

CLIP = Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16)
SMALL = Decoder(width=24, depth=1, heads=2)


def task_of(masker=None, objective=None, clip=CLIP):
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=1, heads=2).build(clip)
    objectives = {"pixels": objective or Pixels(decoder=SMALL)}
    return Pretraining(clip, encoder, masker or Tube(ratio=0.5), objectives, 8).eval()


def video_of(count=3):
    shape = (count, 3, CLIP.frames, CLIP.size, CLIP.size)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_the_energy_is_the_loss_that_training_descends():
    task, video, keys = task_of(), video_of(), torch.arange(3)
    step = task(Batch(video, keys, ("",) * 3))
    energy = reconstruction_energy(task, video, keys)
    assert energy.shape == (3,)
    assert energy.mean().item() == pytest.approx(step.loss.item(), rel=1e-5)


def test_a_plain_formula_gives_the_target_of_training():
    tubelets = cut(video_of(), CLIP)
    tubelets[0, 0] = 7  # flat
    torch.testing.assert_close(standardised(tubelets.float()), normalise(tubelets).values, rtol=1e-4, atol=1e-4)


def test_its_gradient_to_pixels_is_that_of_finite_differences():
    task, keys = task_of(), torch.arange(1)
    video = (20 + 200 * torch.rand(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(2))).double()
    wanted = video.clone().requires_grad_()
    reconstruction_energy(task, wanted.float(), keys).sum().backward()
    along = torch.randn(video.shape, generator=torch.Generator().manual_seed(3)).double()
    ends = [reconstruction_energy(task, (video + step * along).float(), keys).item() for step in (-0.5, 0.5)]
    assert (wanted.grad * along).sum().item() == pytest.approx(ends[1] - ends[0], rel=2e-2, abs=1e-5)


def test_descending_the_energy_calms_a_clip():
    task, keys = task_of(), torch.arange(2)
    video = video_of(2).float().requires_grad_()
    first = reconstruction_energy(task, video, keys).sum()
    for _ in range(5):
        (gradient,) = torch.autograd.grad(reconstruction_energy(task, video, keys).sum(), video)
        video = (video - 20 * gradient / gradient.abs().max()).detach().requires_grad_()
    assert reconstruction_energy(task, video, keys).sum() < first


def test_the_evaluation_compares_video_with_shuffled_frames_and_with_noise(small, clip, data):
    task = task_of(clip=clip)
    result = Energy(samples=50).run(Context(task.encoder, small, clip, data, task))
    assert {"video", "shuffled", "noise", "shuffled_above_video", "noise_above_video"} == result.metrics.keys()
    again = Energy(samples=50).run(Context(task.encoder, small, clip, data, task, batch=3))
    assert result.metrics["noise"].value == pytest.approx(again.metrics["noise"].value, rel=1e-5)


@pytest.mark.parametrize(
    ("masker", "objective", "words"),
    [(None, Contrast(), "normalised pixels"), (None, Pixels(decoder=SMALL, target=Raw()), "normalised pixels"),
     (Text(ratio=0.5), None, "without maps"), (Adaptive(ratio=0.5), None, "without maps")],
)  # fmt: skip
def test_what_has_no_such_energy_is_refused(masker, objective, words):
    with pytest.raises(RecipeError, match=words):
        reconstruction_energy(task_of(masker, objective), video_of(), torch.arange(3))
