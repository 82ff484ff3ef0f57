"""A run folder is never overwritten, never continued silently, and always readable again."""

import json
import os
import signal
import subprocess

import chz
import pytest
import torch

from support.small_runs import pretrain, start, steps, tensors, wait_for_step
from tubelet.config import from_plain, to_plain
from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.errors import RecipeError, RunError, WeightsError
from tubelet.log import read_log
from tubelet.recipes import RECIPES, tiny
from tubelet.recipes.pretrain import Pretrain
from tubelet.runs.folder import RunConfig, load_task, read_run_config, write_run_config


@pytest.fixture(scope="module")
def done(tmp_path_factory, corpus, recipes):
    """A finished run of both objectives."""
    run = tmp_path_factory.mktemp("runs") / "done"
    assert pretrain(f"{recipes}:both", "steps=3", "seed=4", "--on", corpus, "--out", run) == 0
    return run


def error(capsys) -> str:
    """The one line that was said."""
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("step ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("tubelet: ")
    return lines[0]


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_recipe_json_says_everything_and_reads_back_as_the_same_value(done, corpus, recipes):
    written = json.loads((done / "recipe.json").read_text())
    assert written["format"] == 1
    assert written["recipe"] == f"{recipes}:both"
    assert written["corpus"] == {
        "path": str(corpus), "name": "small", "fingerprint": Corpus.open(corpus).fingerprint(),
    }  # fmt: skip
    assert written["values"]["masker"] == "Text"
    assert written["values"]["seed"] == 4
    assert written["command"][:3] == ["tubelet", "pretrain", f"{recipes}:both"]
    assert written["precision"] in ("fp32", "bf16")
    assert {"tubelet", "torch", "python"} <= written["versions"].keys()
    assert {"cores", "processor"} <= written["hardware"].keys()

    plan = read_run_config(done)
    again = done.parent / "again"
    write_run_config(again, plan)
    assert read_run_config(again) == plan
    assert chz.is_chz(plan.config)
    assert plan.config.seed == 4
    assert plan.config.optim.betas == (0.9, 0.95)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_survives_its_json(recipe):
    config = recipe()
    values = json.loads(json.dumps(to_plain(config)))
    assert from_plain(Pretrain, values, "recipe.json") == config
    assert to_plain(from_plain(Pretrain, values, "recipe.json")) == to_plain(config)


def test_a_finished_run_says_so_and_changes_nothing(done, corpus, recipes, capsys):
    before = content(done)
    assert pretrain(f"{recipes}:both", "steps=3", "seed=4", "--on", corpus, "--out", done) == 0
    assert "is finished: all 3 steps are done" in capsys.readouterr().err
    assert content(done) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("steps=3", "seed=5"), "seed: 4 -> 5"),
        (("steps=9", "seed=4"), "steps: 3 -> 9"),
        (("steps=3", "seed=4", "masker=Tube"), "masker: Text -> Tube; masker.ratio: 0.5 -> 0.9; masker.pick: top -> "),
        (("epochs=2", "seed=4"), "total steps: 3 -> 6"),
        (("steps=3", "seed=4", "data.captions.source=verb"), "data.captions.source: subject -> verb"),
    ],
)  # fmt: skip
def test_another_run_is_refused_with_the_fields_that_differ(done, corpus, recipes, capsys, words, said):
    before = content(done)
    assert pretrain(f"{recipes}:both", *words, "--on", corpus, "--out", done) == 2
    line = error(capsys)
    assert said in line
    assert "--out" in line
    assert f"init={done}" in line
    assert content(done) == before


def test_another_corpus_is_refused(done, corpus, recipes, capsys, tmp_path):
    small = Corpus.open(corpus)
    fewer = [{"id": video.id, "path": video.path, "split": "train"} for video in small.select("train")[:3]]
    write_corpus(tmp_path / "fewer", "fewer", fewer)
    run = tmp_path / "run"
    assert pretrain(f"{recipes}:pixels", "steps=1", "--on", corpus, "--out", run) == 0
    capsys.readouterr()
    assert pretrain(f"{recipes}:pixels", "steps=1", "--on", tmp_path / "fewer", "--out", run) == 2
    assert "corpus: small -> fewer" in error(capsys)


@pytest.mark.parametrize("held", ["notes.txt", "log.jsonl", "checkpoint.safetensors"])
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, corpus, recipes, capsys, held):
    (tmp_path / held).write_text("precious")
    assert pretrain(f"{recipes}:pixels", "--on", corpus, "--out", tmp_path) == 2
    assert f"{tmp_path} holds {held} and is no run" in error(capsys)
    assert content(tmp_path) == {held: b"precious"}


def test_a_file_in_the_way_is_refused(tmp_path, corpus, recipes, capsys):
    (tmp_path / "run").write_text("precious")
    assert pretrain(f"{recipes}:pixels", "--on", corpus, "--out", tmp_path / "run") == 2
    assert "is a file" in error(capsys)


def test_what_fails_at_the_door_leaves_no_folder(tmp_path, corpus, recipes, capsys):
    words = ("data.captions.source=nobody", "--on", corpus, "--out", tmp_path / "run")
    assert pretrain(f"{recipes}:both", *words) == 2
    assert "has no captions of source 'nobody'" in error(capsys)
    assert not (tmp_path / "run").exists()
    (tmp_path / "empty").mkdir()
    assert pretrain(f"{recipes}:both", *words[:-1], tmp_path / "empty") == 2
    assert list((tmp_path / "empty").iterdir()) == []


def test_two_processes_never_write_one_folder(tmp_path, corpus, recipes, capsys):
    """And a killed one, workers and all, leaves no lock behind."""
    run = tmp_path / "run"
    command = (f"{recipes}:pixels", "steps=100000", "data.workers=1", "--on", corpus, "--out", run)
    process = start(*command)
    try:
        wait_for_step(process, run, 1)
        assert pretrain(*command) == 2
        assert "another process is training in" in error(capsys)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert pretrain(*command[:1], "steps=7", *command[2:]) == 2
    assert "steps: 100000 -> 7" in error(capsys)


def test_init_takes_the_weights_and_starts_a_new_schedule(done, tmp_path, corpus, recipes, capsys):
    run = tmp_path / "run"
    words = ("steps=5", f"init={done}", "optim.base_lr=1e-30", "optim.weight_decay=0", "--on", corpus, "--out", run)
    assert pretrain(f"{recipes}:both", *words) == 0
    assert [record["step"] for record in steps(run)] == [1, 2, 3, 4, 5]
    start_weights, end_weights = tensors(done), tensors(run)
    for name, value in start_weights.items():
        if name.startswith("task."):
            torch.testing.assert_close(value, end_weights[name], atol=1e-9, rtol=0)


def test_init_keeps_what_fits_and_starts_the_other_heads_fresh(done, tmp_path, corpus, recipes):
    run = tmp_path / "run"
    words = ("steps=1", f"init={done}", "objectives.contrast.weight=0", "--on", corpus, "--out", run)
    assert pretrain(f"{recipes}:both", *words) == 0
    assert not any("contrast" in name for name in tensors(run))


def test_init_takes_a_learned_masker_with_it(tmp_path, corpus, recipes):
    first, second = tmp_path / "first", tmp_path / "second"
    still = ("optim.base_lr=1e-30", "optim.weight_decay=0")
    assert pretrain(f"{recipes}:adaptive", "steps=8", "--on", corpus, "--out", first) == 0
    assert pretrain(f"{recipes}:adaptive", "steps=2", f"init={first}", *still, "--on", corpus, "--out", second) == 0
    for name, value in tensors(first).items():
        if name.startswith("task.policy."):
            torch.testing.assert_close(value, tensors(second)[name], atol=1e-9, rtol=0)
    assert tensors(first)["task.policy.logit.weight"].any()


def test_init_of_another_width_names_the_tensors(done, tmp_path, corpus, recipes, capsys):
    words = ("steps=1", f"init={done}", "encoder.width=64", "--on", corpus, "--out", tmp_path / "run")
    assert pretrain(f"{recipes}:both", *words) == 2
    assert "embed.weight is (32, 1536), not (64, 1536)" in error(capsys)
    assert not (tmp_path / "run").exists()


def test_init_from_nowhere_is_refused(tmp_path, corpus, recipes, capsys):
    words = ("steps=1", f"init={tmp_path / 'nothing'}", "--on", corpus, "--out", tmp_path / "run")
    assert pretrain(f"{recipes}:pixels", *words) == 2
    assert "there is no file or folder" in error(capsys)


def test_load_task_gives_the_config_and_the_trained_weights(done):
    config, task = load_task(done)
    assert config == read_run_config(done).config
    assert not task.training
    weights = tensors(done)
    for name, value in task.state_dict().items():
        assert torch.equal(value, weights[f"task.{name}"])


def test_load_task_refuses_what_is_no_run_or_does_not_fit(done, tmp_path, recipes):
    with pytest.raises(RunError, match=r"no recipe\.json"):
        load_task(tmp_path)
    plan = read_run_config(done)
    wider = chz.replace(plan.config, encoder=chz.replace(plan.config.encoder, width=64))
    write_run_config(tmp_path, RunConfig(**{**vars(plan), "config": wider}))
    os.link(done / "checkpoint.safetensors", tmp_path / "checkpoint.safetensors")
    with pytest.raises(WeightsError, match=r"encoder\.embed\.weight is \(32, 1536\), not \(64, 1536\)"):
        load_task(tmp_path)


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"format": 2}', "nonsense"])
def test_a_damaged_recipe_is_one_clear_line(tmp_path, damage):
    (tmp_path / "recipe.json").write_text(damage)
    with pytest.raises(RunError, match=r"recipe\.json") as caught:
        read_run_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_recipe_of_another_version_names_what_it_does_not_know():
    values = to_plain(tiny())
    with pytest.raises(RecipeError, match="nonsense"):
        from_plain(Pretrain, {**values, "nonsense": 1}, "recipe.json")
    with pytest.raises(RecipeError, match="no Masker called 'Magic'"):
        from_plain(Pretrain, {**values, "masker": "Magic"}, "recipe.json")


def test_a_recipe_never_runs_code_that_it_names(tmp_path):
    values = to_plain(tiny())
    for name in ("os:getcwd", "lambda: 1", "subprocess:Popen"):
        with pytest.raises(RecipeError, match="no Masker called"):
            from_plain(Pretrain, {**values, "masker": name}, "recipe.json")


def test_a_run_killed_in_its_last_measurement_measures_again(tmp_path, corpus, recipes):
    run = tmp_path / "run"
    words = (f"{recipes}:pixels", "steps=2", "--on", corpus, "--out", run)
    assert pretrain(*words) == 0
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    assert json.loads(lines[-1])["kind"] == "end"
    (run / "log.jsonl").write_text("".join(lines[:-1]) + '{"kind": "evalua')
    before = tensors(run)
    assert pretrain(*words) == 0
    assert [record["kind"] for record in read_log(run / "log.jsonl")] == ["step", "step", "end"]
    assert all(torch.equal(before[name], value) for name, value in tensors(run).items())


def test_no_pickle_is_ever_read_or_written(done):
    """Whatever `torch.load` or `pickle` could open, a run folder does not hold."""
    kinds = subprocess.run(["ls", done], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(kinds) == ["checkpoint.safetensors", "log.jsonl", "recipe.json", "trained_on.parquet"]
