"""Training from Python: nothing is printed, callables are told, and the run that comes back shows itself."""

import chz
import pytest
import torch

import tubelet
from tubelet.cli import main
from tubelet.errors import RunError
from tubelet.recipes.find import find


@pytest.fixture(scope="module")
def trained(tmp_path_factory, corpus, recipes):
    told, done = [], []
    run = tubelet.pretrain(
        f"{recipes}:pixels", "save_every=2", on=corpus, out=tmp_path_factory.mktemp("runs") / "run", steps=3,
        progress=lambda *state: done.append(state), tell=told.append,
    )  # fmt: skip
    return run, told, done


def test_pretraining_from_python_prints_nothing_and_tells_its_progress(trained, capfd):
    run, _, done = trained
    assert [state[:2] for state in done] == [(1, 3), (2, 3), (3, 3)]
    assert done[-1][2].startswith("pixels ")
    assert run.finished
    assert (run.step, run.steps, run.kind, run.config.steps) == (3, 3, "pretrain", 3)
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_the_same_call_again_finds_the_run_finished(trained, corpus, recipes):
    run, _, _ = trained
    told = []
    again = tubelet.pretrain(f"{recipes}:pixels", "save_every=2", on=corpus, out=run.folder, steps=3, tell=told.append)
    assert again.finished
    assert told == [f"{run.folder} is finished: all 3 steps are done and measured"]


def test_a_recipe_is_a_name_a_function_or_a_config(tmp_path, corpus, recipes):
    _, function = find(f"{recipes}:pixels", ())
    for number, recipe in enumerate((function, chz.replace(function(), seed=0))):
        run = tubelet.pretrain(recipe, on=corpus, out=tmp_path / str(number), steps=1)
        assert run.finished
        assert run.config.encoder.width == 32


def test_a_run_shows_its_log_masks_and_reconstructions(trained, corpus):
    run, _, _ = trained
    assert list(run.log.step) == [1, 2, 3]
    assert run.log.loss.notna().all()
    batch, mask = run.masks(clips=2)
    assert mask.hidden.shape == (len(batch), 4) == (2, 4)
    assert torch.equal(run.masks(clips=2)[1].hidden, mask.hidden)
    made = run.reconstruct(clips=2)
    assert made.prediction.shape == made.target.values.shape
    assert "finished" in run._repr_html_()
    assert run.encoder.encode(batch.video).shape == (2, 8, 32)


def test_a_folder_without_a_run_is_one_that_is_not_finished(tmp_path):
    run = tubelet.Run(tmp_path / "none")
    assert not run.finished
    assert "nothing is trained there yet" in run._repr_html_()
    with pytest.raises(RunError, match=r"holds no recipe\.json"):
        _ = run.config


def test_fine_tuning_from_python_prints_nothing_and_a_dry_run_writes_nothing(trained, tmp_path, corpus, capfd):
    run, _, _ = trained
    words = ("tiny", "batch=2", "rates=0.01", "samples=20", "data.workers=0", "held_out=0.5")
    out = tmp_path / "tuned"
    assert (
        main(["finetune", str(run.folder), *words, "steps=2", "--on", str(corpus), "--out", str(out), "--dry-run"]) == 0
    )
    said = capfd.readouterr().out
    assert "1 trainings of 2 steps" in said
    assert not out.exists()
    done = []
    tuned = tubelet.finetune(run, *words, on=corpus, out=out, steps=2, progress=lambda *state: done.append(state))
    said = capfd.readouterr()
    assert said.out == said.err == ""
    assert tuned.finished
    assert tuned.kind == "finetune"
    assert (2, 2) in [state[:2] for state in done]
    assert "finetune" in tuned.results
    assert tuned.summary.startswith("learning rate 0.01, step ")


def test_a_run_is_measured_from_python_as_by_the_command(trained, capfd):
    run, _, _ = trained
    result = run.evaluate("reconstruction", samples=20)
    assert isinstance(result, tubelet.Result)
    assert result.metrics["r2"].interval is not None
    assert tubelet.evaluate(run.folder, "reconstruction", samples=20).metrics == result.metrics
    assert len(tubelet.compare([run.folder]).methods[0].runs) == 1
    assert capfd.readouterr().out == ""
