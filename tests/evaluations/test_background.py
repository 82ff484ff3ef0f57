"""A run whose clips have no background is measured beside baselines that see it."""

from pathlib import Path

import chz
import pytest
import torch

from tubelet.cli import main
from tubelet.config import override
from tubelet.errors import RecipeError, WeightsError
from tubelet.evaluations import Context
from tubelet.evaluations.baselines import BASELINES
from tubelet.evaluations.completion import complete
from tubelet.formats.transformers import refuse_others
from tubelet.loading.pseudo_motion import PseudoMotion
from tubelet.models.encoder import Vit
from tubelet.recipes import few_clips
from tubelet.results import read_results
from tubelet.runs.folder import load_task
from tubelet.tasks import Pretraining

TINY = (
    "clip.frames=4", "clip.size=16", "encoder.width=32", "encoder.depth=1", "encoder.heads=2",
    "objectives.pixels.decoder.width=24", "objectives.pixels.decoder.heads=2", "data.cache=False", "steps=2", "batch=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(small, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "few"
    assert main(["pretrain", "few_clips", *TINY, "--on", str(small.folder), "--out", str(folder)]) == 0
    return folder


def test_baselines_of_pixels_see_the_background_and_the_untrained_encoder_does_not(small, clip, data):
    moving = chz.replace(clip, subtract_background=True)
    run, plain = (Context(Vit(width=32, depth=1, heads=2).build(one), small, one, data) for one in (moving, clip))
    for name, baseline in BASELINES.items():
        own, other = baseline(run).features("test").mean, baseline(plain).features("test").mean
        assert torch.equal(own, other) is (name != "random"), name


def test_a_run_without_background_is_trained_measured_and_opened_by_the_same_commands(run, small):
    words = ["linear", "linear.cv=2", "--baselines"]
    assert main(["evaluate", str(run), "--on", str(small.folder), *words]) == 0
    result = read_results(run)["linear"]
    assert result.baselines.keys() == BASELINES.keys()
    assert "untrained encoder" in result.verdict
    config, task = load_task(run)
    video = torch.randint(0, 100, (1, 3, *config.clip.whole), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(task.encoder.encode(video), task.encoder.encode(video + 100))  # as bright as it may be
        assert not torch.equal(task.encoder.encode(video), task.encoder.encode(video.flip(2)))


def test_what_needs_pixels_as_they_are_is_refused_with_the_reason(run):
    config, task = load_task(run)
    assert isinstance(task, Pretraining)
    hole = torch.zeros(config.clip.grid, dtype=torch.bool)
    hole[0] = True
    with pytest.raises(RecipeError, match=r"completion fills in pixels, and a run of clip\.subtract_background=True"):
        complete(task, torch.zeros(1, 3, *config.clip.whole, dtype=torch.uint8), hole)
    with pytest.raises(WeightsError, match=r"sees clips with their background .* --to onnx or torch-export"):
        refuse_others(task.encoder, None, None)


def test_the_recipe_takes_the_background_away_and_pseudo_motion_is_one_word():
    assert few_clips().clip.subtract_background
    assert isinstance(override(few_clips(), ["data.augment=PseudoMotion"]).data.augment, PseudoMotion)
