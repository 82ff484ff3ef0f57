"""Pretraining keeps the step that is best on held-out clips of train, and says so where more steps made it worse."""

import json

import numpy as np
import pytest
import torch

from tubelet.checkpoint import BEST, CHECKPOINT, checkpoint_step, read_checkpoint
from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations import Knn
from tubelet.evaluations.selection import hold_out
from tubelet.loading.data import Data
from tubelet.maskers import Tube
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Pixels
from tubelet.recipes import Pretrain
from tubelet.results import read_results
from tubelet.run_record import RunRecord
from tubelet.runs import best
from tubelet.runs.evaluate import evaluate
from tubelet.runs.folder import load_task, weights_file
from tubelet.runs.pretrain import pretrain
from tubelet.types import Clip
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

CLIP = Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16)


def recipe(**changes) -> Pretrain:
    return Pretrain(
        precision="fp32",
        clip=CLIP,
        data=Data(sampling=Sampling(stride=1)),
        encoder=Vit(width=32, depth=1, heads=2),
        masker=Tube(ratio=0.5),
        objectives={"pixels": Pixels(decoder=Decoder(width=16, depth=1, heads=2))},
        evaluations={"knn": Knn(samples=20)},
        **{"steps": 3, "batch": 2, "evaluate_every": 1, "keep_best": "knn"} | changes,
    )


def make(folder, labels=("dark", "light")):
    folder.mkdir()
    rows = []
    for number in range(16):
        frames = np.random.default_rng(number).integers(0, 90, (4, 32, 32, 3)).astype(np.uint8)
        write_video(folder / f"{number}.mp4", frames + np.uint8(150 * (number % 2)), 8.0)
        rows.append(
            {"id": f"clip {number}", "path": folder / f"{number}.mp4", "end": 0.5, "fps": 8.0, "frames": 4,
             "width": 32, "height": 32, "label": labels[number % 2] if labels else None,
             "split": "train" if number < 10 else "test", "group": f"group {number}"}
        )  # fmt: skip
    return write_corpus(folder, "small", rows)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make(tmp_path_factory.mktemp("corpus") / "small").folder


@pytest.fixture
def scores(monkeypatch):
    """What the held-out clips say, one after another."""
    told: list[float] = []
    monkeypatch.setattr(best, "held_out_score", lambda result: told.pop(0))
    return told


def test_the_best_step_is_kept_measured_and_said_and_more_steps_that_made_it_worse_too(corpus, tmp_path, scores):
    said: list[str] = []
    scores += [0.5, 0.9, 0.4, 0.3]
    run = tmp_path / "run"
    pretrain(recipe(), on=corpus, out=run, tell=said.append)
    sentence = (
        "kept is step 1, the best of 3 by accuracy of knn on held-out clips of train (90.0, 30.0 after 3, 50.0 "
        "untrained): more steps made it worse"
    )
    assert sentence in said
    assert (checkpoint_step(run / CHECKPOINT), checkpoint_step(run / BEST)) == (3, 1)
    assert weights_file(run) == run / BEST
    kept, _ = read_checkpoint(run / BEST)
    last, _ = read_checkpoint(run / CHECKPOINT)
    name = next(one.removeprefix("task.") for one in kept if one.startswith("task.encoder") and one.endswith("weight"))
    assert torch.equal(load_task(run)[1].state_dict()[name], kept[f"task.{name}"])
    assert not torch.equal(kept[f"task.{name}"], last[f"task.{name}"])
    result = read_results(run)["knn"]
    assert result.step == 1
    assert sentence in result.notes
    assert sentence in evaluate(run, "knn").notes
    record = RunRecord.read(run)
    assert record.measured("held_out", "accuracy")[1].tolist() == [0.5, 0.9, 0.4, 0.3]
    assert any("cv" in text or "selected by labels" in text for text in evaluate(run, "knn", cv=2).warnings)


def test_a_run_that_ended_before_it_was_measured_goes_on_to_the_same_step(corpus, tmp_path, scores):
    run = tmp_path / "run"
    scores += [0.5, 0.4, 0.8, 0.3]
    pretrain(recipe(), on=corpus, out=run)
    before = read_results(run)["knn"]
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    assert json.loads(lines[-1])["kind"] == "end"
    (run / "log.jsonl").write_text("".join(lines[:-1]))
    scores += [0.3]
    pretrain(recipe(), on=corpus, out=run)
    assert read_results(run)["knn"] == before
    assert before.step == 2
    assert not scores


def test_no_step_that_is_better_than_the_untrained_encoder_is_said(corpus, tmp_path, scores):
    said: list[str] = []
    scores += [0.9, 0.4, 0.5, 0.6]
    pretrain(recipe(), on=corpus, out=tmp_path / "run", tell=said.append)
    [line] = [line for line in said if line.startswith("kept is step 3")]
    assert line.endswith("(60.0, 90.0 untrained); no step is better than the untrained encoder there")


def test_labels_of_test_do_not_decide_which_step_is_kept(corpus, tmp_path):
    from tubelet.corpus.table import Corpus
    from tubelet.evaluations.features import outline_of

    run = tmp_path / "run"
    pretrain(recipe(), on=corpus, out=run)
    values = RunRecord.read(run).measured("held_out", "accuracy")[1]
    opened = Corpus.open(corpus)
    held = int(hold_out(outline_of(opened, recipe().data, "train", None), 0.25, 0).sum())
    assert ((values * held).round(6) % 1 == 0).all(), "shares of the held-out clips of train"
    assert len(values) == 4


def test_what_cannot_keep_a_step_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(RecipeError, match=r"keep_best=linear must be an evaluation of the recipe .*; it has: knn"):
        recipe(keep_best="linear")
    with pytest.raises(RecipeError, match="needs evaluate_every, as in evaluate_every=50"):
        recipe(evaluate_every=0)
    unlabelled = make(tmp_path / "unlabelled", labels=None)
    with pytest.raises(CorpusError, match="knn needs labels"):
        pretrain(recipe(), on=unlabelled.folder, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
