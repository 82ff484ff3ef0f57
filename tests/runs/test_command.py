"""`tubelet pretrain` as a user meets it: what it trains, what it says, and how it refuses."""

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from support.small_runs import assert_identical, make_corpus, pretrain, steps, tensors
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.log import read_log
from tubelet.maskers import DECODES, MASKERS
from tubelet.recipes import RECIPES

FIVE = ("objectives.contrast.weight=0", "masker=Tube", "masker.ratio=0.75", "clip.size=112", "clip.frames=8")
# The paper's model is too large for a test; its recipe is not.
SMALLER = {
    "tiny_text_guided": ("encoder.depth=1",),
    "text_guided": (
        "encoder.width=32", "encoder.depth=1", "encoder.heads=2", "objectives.pixels.decoder.depth=1",
        "data.workers=0", "data.captions.source=subject",
    ),
}  # fmt: skip


def refused(capsys, *words: object) -> str:
    """The one line with which these words are refused."""
    assert pretrain(*words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("tubelet: ")
    return lines[0]


@pytest.mark.parametrize("recipe", SMALLER)
@pytest.mark.parametrize("words", [*((word,) for word in FIVE), FIVE], ids=lambda words: " ".join(words))
def test_each_of_five_overrides_trains_and_then_all_together(tmp_path, corpus, recipe, words):
    run = tmp_path / "run"
    assert pretrain(recipe, *SMALLER[recipe], *words, "steps=1", "batch=2", "--on", corpus, "--out", run) == 0
    values = json.loads((run / "recipe.json").read_text())["values"]
    for word in words:
        path, value = word.split("=")
        assert str(values[path]) in (value, f"{value}.0")
    if "masker=Tube" in words:
        assert {path for path in values if path.startswith("masker")} == {"masker", "masker.ratio"}
    (record,) = steps(run)
    assert ("contrast" in record) == ("objectives.contrast.weight=0" not in words)
    assert record["pixels"] > 0


def test_without_contrast_and_text_masks_a_corpus_needs_no_text(tmp_path, corpus):
    rows = [
        {"id": video.id, "path": video.path, "start": 0.0, "end": 1.0, "split": "train"}
        for video in Corpus.open(corpus).videos
    ]
    silent = write_corpus(tmp_path / "silent", "silent", rows)
    words = ("encoder.depth=1", "steps=1", "batch=2", "objectives.contrast.weight=0", "masker=Tube")
    assert pretrain("tiny_text_guided", *words, "--on", silent.folder, "--out", tmp_path / "run") == 0


def test_a_contrast_that_is_detached_changes_no_weight_but_its_own(tmp_path, corpus, recipes):
    """Not by the common norm of clipped gradients, nor by the draws of fresh weights."""
    observed, alone = tmp_path / "observed", tmp_path / "alone"
    words = (f"{recipes}:both", "steps=6", "optim.clip_norm=0.05", "--on", corpus)
    assert pretrain(*words, "objectives.contrast.detach=True", "--out", observed) == 0
    assert pretrain(*words, "objectives.contrast.weight=0", "--out", alone) == 0
    weights = tensors(observed)
    for name, value in tensors(alone).items():
        assert torch.equal(weights[name], value), name
    assert all(record["gradient_norm"] > 0.05 for record in steps(alone))
    assert [record["gradient_norm"] for record in steps(observed)] == [
        record["gradient_norm"] for record in steps(alone)
    ]
    assert steps(observed)[-1]["gradient_norm.detached"] > 0


def test_the_log_holds_what_a_reader_of_a_run_needs(tmp_path, corpus, recipes, capsys):
    run = tmp_path / "run"
    assert pretrain(f"{recipes}:both", "steps=4", "log_every=2", "--on", corpus, "--out", run) == 0
    logged = steps(run)
    assert [record["step"] for record in logged] == [1, 2, 4]
    for record in logged:
        assert {
            "loss",
            "pixels",
            "pixels.baseline",
            "contrast",
            "lr",
            "clips_per_second",
            "short",
            "failed",
        } <= record.keys()
        assert record["loss"] == pytest.approx(record["pixels"] + record["contrast"], rel=1e-5)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert f"{run}: 4 steps, " in out
    assert f"tubelet evaluate {run} --on {corpus} linear" in out
    assert f"tubelet report {run}" in out


def test_evaluations_run_while_training_and_at_the_end(tmp_path, corpus, recipes):
    run = tmp_path / "run"
    words = ("steps=4", "evaluate_every=2", "evaluations.knn=Knn")
    assert pretrain(f"{recipes}:pixels", *words, "--on", corpus, "--out", run) == 0
    measured = [record for record in read_log(run / "log.jsonl") if record["kind"] == "evaluation"]
    assert [(record["step"], record["name"]) for record in measured] == [(0, "knn"), (2, "knn"), (4, "knn")]
    results = json.loads((run / "results.json").read_text())
    assert results["knn"]["metrics"] == measured[-1]["metrics"]


def test_an_evaluation_that_the_corpus_does_not_allow_is_left_out(tmp_path, corpus, recipes, capsys):
    rows = [
        {"id": video.id, "path": video.path, "start": 0.0, "end": 1.0, "split": video.split}
        for video in Corpus.open(corpus).videos
    ]
    unlabelled = write_corpus(tmp_path / "unlabelled", "unlabelled", rows)
    words = (
        "steps=2",
        "evaluate_every=1",
        "evaluations.linear=Linear",
        "--on",
        unlabelled.folder,
        "--out",
        tmp_path / "run",
    )
    assert pretrain(f"{recipes}:pixels", *words) == 0
    said = capsys.readouterr()
    assert said.err.count("linear will not be measured: ") == said.err.count("needs labels") == 1  # said once
    assert f"next: `tubelet evaluate {tmp_path / 'run'} --on {unlabelled.folder} reconstruction`" in said.out
    assert [record["kind"] for record in read_log(tmp_path / "run" / "log.jsonl")] == ["step", "step", "end"]
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize(("short", "done"), [("repeat", "last frame is repeated"), ("stretch", "are spread over")])
def test_videos_too_short_for_a_clip_are_counted_before_the_first_step(tmp_path, corpus, recipes, capsys, short, done):
    words = ("steps=1", f"data.sampling.short={short}", "--on", corpus, "--out")
    assert pretrain(f"{recipes}:pixels", "data.sampling.stride=4", *words, tmp_path / "short") == 0
    said = capsys.readouterr().err
    assert "6 of 6 videos are shorter than a clip's span (first: clip 0.mp4)" in said
    assert done in said
    assert steps(tmp_path / "short")[0]["short"] == 2
    assert pretrain(f"{recipes}:pixels", *words, tmp_path / "long") == 0
    assert "shorter" not in capsys.readouterr().err


def test_evaluating_changes_no_weight(tmp_path, corpus, recipes):
    for name, words in (
        ("with", ("evaluate_every=1", "evaluations.knn=Knn")),
        ("without", ()),
    ):
        assert pretrain(f"{recipes}:both", "steps=4", *words, "--on", corpus, "--out", tmp_path / name) == 0
    assert_identical(tmp_path / "with", tmp_path / "without")


def test_tensorboard_is_written_when_asked_for(tmp_path, corpus, recipes):
    assert pretrain(f"{recipes}:pixels", "steps=1", "tensorboard=True", "--on", corpus, "--out", tmp_path / "run") == 0
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1


def test_epochs_are_passes_over_the_training_videos(tmp_path, corpus, recipes):
    words = ("epochs=1.5", "batch=2", "--on", corpus, "--out", tmp_path / "run")
    assert pretrain(f"{recipes}:pixels", *words) == 0
    assert steps(tmp_path / "run")[-1]["step"] == math.ceil(1.5 * 6 / 2)


def test_clipping_bounds_the_gradient_and_bf16_trains(tmp_path, corpus, recipes):
    words = ("steps=2", "optim.clip_norm=0.001", "precision=bf16", "--on", corpus, "--out", tmp_path / "run")
    assert pretrain(f"{recipes}:pixels", *words) == 0
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["precision"] == "bf16"
    assert all(0 < record["loss"] < 3 for record in steps(tmp_path / "run"))


BROKEN = """
import torch
from tubelet.objectives import Objective, Pixels
from tubelet.types import Loss
import chz, mine

class Explodes(torch.nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.mode, self.calls, self.scale = mode, 0, torch.nn.Parameter(torch.ones(1))
    def forward(self, seen):
        self.calls += 1
        loss = seen.tokens.mean() * self.scale.sum()
        if self.calls == 3 and self.mode == "loss":
            loss = loss * float("nan")
        if self.calls == 3 and self.mode == "gradient":
            loss = loss + (self.scale - self.scale.detach()).clamp(min=0).sqrt().sum()
        return Loss(loss, {"explosive": loss.detach()})

@chz.chz
class Explosive(Objective):
    mode: str = chz.field(default="loss", doc="what explodes")
    def build(self, sizes):
        return Explodes(self.mode)

def explosive():
    "Not finite in its third step."
    return chz.replace(mine.pixels(), objectives={"explosive": Explosive()}, save_every=2, steps=9)
"""


@pytest.mark.parametrize("mode", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_the_run_and_deletes_nothing(
    tmp_path, corpus, recipes, capsys, monkeypatch, mode
):
    monkeypatch.syspath_prepend(str(recipes.parent))
    (tmp_path / "broken.py").write_text(BROKEN)
    run = tmp_path / "run"
    words = (f"{tmp_path / 'broken.py'}:explosive", f"objectives.explosive.mode={mode}", "--on", corpus, "--out", run)
    assert pretrain(*words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"the {mode} of step 3 is not finite, clips clip " in line
    assert line.count(".mp4") == 2
    assert f"the checkpoint in {run} is untouched" in line
    assert all(np.isfinite(value.float().numpy()).all() for value in tensors(run).values())
    assert [record["step"] for record in steps(run)] == [1, 2]


def damage(corpus, numbers) -> None:
    for number in numbers:
        (corpus / "videos" / f"clip {number}.mp4").write_bytes(b"no video")


def test_an_unreadable_clip_is_named_and_never_replaced(tmp_path, recipes):
    corpus = make_corpus(tmp_path / "corpus").folder
    damage(corpus, [2])
    run = tmp_path / "run"
    words = ("steps=6", "batch=2", "max_failed=0.5", "log_every=100", "--on", corpus, "--out", run)
    assert pretrain(f"{recipes}:pixels", *words) == 0
    failed = [name for record in steps(run) for name in record["failed"]]
    assert len(failed) == 2  # once an epoch of six
    assert all(name.startswith("clip 2.mp4: ") for name in failed)


def test_too_many_unreadable_clips_stop_the_run(tmp_path, recipes, capsys):
    corpus = make_corpus(tmp_path / "corpus").folder
    damage(corpus, [2, 3])
    words = ("steps=60", "batch=3", "max_failed=0.02", "--on", corpus, "--out", tmp_path / "run")
    assert pretrain(f"{recipes}:pixels", *words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "clips could not be read, lately clip " in line
    assert "max_failed=0.02" in line


def test_a_step_without_a_single_readable_clip_stops_the_run(tmp_path, recipes, capsys):
    corpus = make_corpus(tmp_path / "corpus").folder
    damage(corpus, range(6))
    words = ("steps=6", "--on", corpus, "--out", tmp_path / "run")
    assert pretrain(f"{recipes}:pixels", *words) == 2
    assert "not one clip of step 1 could be read" in capsys.readouterr().err


def test_maps_that_are_missing_are_counted_before_the_first_step(tmp_path, recipes, capsys):
    corpus = make_corpus(tmp_path / "corpus", maps_for=4).folder
    line = refused(capsys, f"{recipes}:both", "data.cache=False", "--on", corpus, "--out", tmp_path / "run")
    assert "Text masking needs text maps for 2 of 6 videos" in line
    assert f"tubelet saliency {corpus} Text" in line
    assert not (tmp_path / "run").exists()


def test_embeddings_that_are_missing_are_named_with_the_remedy(tmp_path, recipes, capsys):
    corpus = make_corpus(tmp_path / "corpus").folder
    shutil.rmtree(corpus / "embeddings")
    line = refused(capsys, f"{recipes}:both", "--on", corpus, "--out", tmp_path / "run")
    assert f"has no caption embeddings; make them with `tubelet saliency {corpus} Text`" in line


def test_a_mirror_that_would_lie_is_refused(tmp_path, corpus, recipes, capsys):
    small = Corpus.open(corpus)
    rows = [{"id": v.id, "path": v.path, "split": "train", "label": "moves left"} for v in small.select("train")]
    sided = write_corpus(tmp_path / "sided", "sided", rows)
    words = (f"{recipes}:pixels", "data.augment.flip=True", "--on", sided.folder, "--out", tmp_path / "run")
    assert "left" in refused(capsys, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tiny", "--on", "nowhere", "--out", "run"), "there is no corpus at nowhere"),
        (("tinny", "--on", "nowhere", "--out", "run"), "there is no recipe 'tinny'; did you mean tiny?"),
        (("tiny", "--on", "nowhere"), "--out"),
        (("tiny", "maskr=Tube", "--on", "nowhere", "--out", "run"), "did you mean masker?"),
        (("tiny", "--on", "nowhere", "--oot", "run", "--out", "run"), "did you mean --out?"),
        (("absent.py:recipe", "--on", "nowhere", "--out", "run"), "there is no file"),
        (("absent.py", "--on", "nowhere", "--out", "run"), "name the recipe in the file too"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_ratio_that_hides_nothing_is_refused_at_the_door(tmp_path, corpus, recipes, capsys):
    line = refused(capsys, f"{recipes}:pixels", "masker.ratio=0.1", "--on", corpus, "--out", tmp_path / "run")
    assert "change masker.ratio" in line
    assert not (tmp_path / "run").exists()


def test_a_recipe_file_with_a_fault_is_one_line(tmp_path, capsys):
    (tmp_path / "bad.py").write_text("import nothing_of_this_name\n")
    line = refused(capsys, f"{tmp_path / 'bad.py'}:recipe", "--on", tmp_path, "--out", tmp_path / "run")
    assert "bad.py cannot be run (ModuleNotFoundError" in line


def test_help_lists_the_recipes_and_a_recipe_its_fields(capsys):
    assert main(["pretrain", "--help"]) == 0
    page = capsys.readouterr().out
    for recipe in RECIPES:
        assert f"  {recipe.__name__} " in page
    for part in (*MASKERS, *DECODES):
        assert f"  {part.__name__} " in page
    assert "of each time step the patches most similar to it. [maps: text]" in page
    assert main(["pretrain", "tiny_text_guided", "masker=Tube", "--help"]) == 0
    page = capsys.readouterr().out
    assert "masker=Tube" in page
    assert "masker.pick" not in page
    assert "objectives.contrast.temperature=0.07" in page


def test_a_mistake_shows_no_traceback_in_a_real_terminal(tmp_path, corpus):
    words = ["pretrain", "tiny", "batch=many", "--on", str(corpus), "--out", str(tmp_path / "run")]
    ended = subprocess.run([sys.executable, "-m", "tubelet", *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "tubelet: batch=many does not fit: it must be int\n"
    assert ended.stdout == ""
