"""A frozen teacher is the encoder that it was said to be, in the run, after a stop, and without its source."""

import json
import shutil

import torch

from support.small_runs import pretrain, steps
from tubelet.checkpoint import CHECKPOINT
from tubelet.evaluations.trained_on import FILE, TrainedOn
from tubelet.runs.folder import load_task
from tubelet.runs.run import Run

LATENT = (
    "teacher=Frozen", "objectives.latent=Predict", "objectives.latent.target=Features",
    "objectives.latent.decoder.width=32", "objectives.latent.decoder.depth=1", "objectives.latent.decoder.heads=2",
)  # fmt: skip


def test_a_frozen_teacher_has_the_weights_of_its_source_and_keeps_them(tmp_path, corpus, recipes, capsys):
    source, run = tmp_path / "source", tmp_path / "run"
    assert pretrain(f"{recipes}:pixels", "steps=3", "--on", corpus, "--out", source) == 0
    words = (f"{recipes}:pixels", "steps=4", "save_every=2", *LATENT, f"teacher.init={source}", "--on", corpus)
    assert pretrain(*words, "--out", run) == 0
    assert f"teacher: the encoder of {source / CHECKPOINT}, as it is" in capsys.readouterr().err
    recorded = json.loads((run / "recipe.json").read_text())["values"]
    assert (recorded["teacher.encoder.width"], recorded["teacher.clip.frames"]) == (32, 4)
    assert {"latent", "latent.baseline"} <= steps(run)[-1].keys()
    theirs = load_task(source)[1].encoder.state_dict()
    shutil.rmtree(source)  # a checkpoint is whole
    kept = load_task(run)[1].teacher.encoder.state_dict()
    assert theirs.keys() == kept.keys()
    for name, value in theirs.items():
        assert torch.equal(kept[name], value), name
    assert Run(run).encoder is not None


def test_what_a_teacher_was_trained_on_counts_as_trained_on(tmp_path, corpus, recipes):
    source, run = tmp_path / "source", tmp_path / "run"
    assert pretrain(f"{recipes}:pixels", "steps=1", "--on", corpus, "--out", source) == 0
    words = (f"{recipes}:pixels", "steps=1", *LATENT, f"teacher.init={source}", "data.limit=1", "--on", corpus)
    assert pretrain(*words, "--out", run) == 0
    record = TrainedOn.read(run / FILE)
    own = {clip.id for clip in record.clips if clip.origin is None}
    inherited = {clip.id for clip in record.clips if clip.origin == str(source)}
    assert len(own) == 1
    assert inherited > own


def test_a_teacher_of_another_grid_is_refused_with_both(tmp_path, corpus, recipes, capsys):
    source = tmp_path / "source"
    assert pretrain(f"{recipes}:pixels", "steps=1", "--on", corpus, "--out", source) == 0
    words = (f"{recipes}:pixels", "steps=1", *LATENT, f"teacher.init={source}", "clip.frames=8", "--on", corpus)
    assert pretrain(*words, "--out", tmp_path / "run") == 2
    assert "the grids must be equal" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
