"""Phases are their commands typed one after another, wherever they are killed."""

import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from support.small_runs import assert_identical, wait_for_step
from tubelet import phases
from tubelet.checkpoint import part
from tubelet.cli import main
from tubelet.errors import RecipeError
from tubelet.recipes.finetune import Finetune
from tubelet.recipes.phases import PHASES, Phases, resolve_phases
from tubelet.runs.candidate import fresh_classifier
from tubelet.runs.folder import read_run_config_of, read_weights_of, weights_file
from tubelet.runs.phases import check

MINE = """
def mine():
    '''Pretrain, and once more from there.'''
    return {"first": "pretrain RECIPES:pixels", "second": "pretrain RECIPES:both init={first}"}


def tuned():
    '''Pretrain, fine-tune, and fine-tune what is fine-tuned.'''
    small = "tiny batch=4 steps=6 evaluate_every=3 rates=0.3,0.1 samples=50 views=1x1 data.cache=False"
    return {
        "pretrained": "pretrain RECIPES:pixels",
        "supervised": f"finetune {{pretrained}} {small}",
        "target": f"finetune {{supervised}} {small}",
    }
"""
FOLDERS = ("first", "second")
WORDS = ("steps=12", "save_every=3", "second.steps=20", "seed=3")


@pytest.fixture(scope="module")
def mine(tmp_path_factory, recipes) -> Path:
    path = tmp_path_factory.mktemp("phases") / "phases.py"
    path.write_text(MINE.replace("RECIPES", str(recipes)))
    return path


@pytest.fixture(scope="module")
def typed(tmp_path_factory, mine, corpus) -> Path:
    """What the commands that `--dry-run` prints make, typed one by one."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("typed") / "phases"
    command = [sys.executable, "-m", "tubelet", "phases", f"{mine}:mine", *WORDS, "--on", corpus, "--out", out]
    said = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert not out.exists()
    assert len(said) == len(FOLDERS)
    for line in said:
        assert main(shlex.split(line)[1:]) == 0
    return out


def test_phases_are_their_commands_typed_one_after_another(tmp_path, mine, corpus, typed, capsys):
    command = ["phases", f"{mine}:mine", *WORDS, "--on", str(corpus), "--out", str(tmp_path)]
    assert main(command) == 0
    told = capsys.readouterr().err
    for folder in FOLDERS:
        assert_identical(typed / folder, tmp_path / folder)
        before, _, _ = told.partition(f"--out {tmp_path / folder}\n")
        assert before.rpartition("\n")[2].startswith("$ tubelet pretrain ")
        assert ("step 12/12" in before, "step 20/20" in before) == (folder == "second", False), "shown before it runs"
    recorded = (tmp_path / "second" / "recipe.json").read_text()
    assert f'"init={tmp_path / "first"}"' in recorded
    assert '"phases"' not in recorded, "its command is the one that anyone can type"
    assert main(command) == 0
    assert capsys.readouterr().err.count("is finished: all") == 2


@pytest.mark.parametrize(
    ("folder", "step"), [("first", 4), pytest.param("second", 1, marks=pytest.mark.slow), ("second", 11)]
)
def test_killed_in_a_phase_and_typed_again_the_weights_are_the_same(tmp_path, mine, corpus, typed, folder, step):
    command = ["phases", f"{mine}:mine", *WORDS, "--on", str(corpus), "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tubelet", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_step(process, tmp_path / folder, step)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert main(command) == 0
    for name in FOLDERS:
        assert_identical(typed / name, tmp_path / name)


def test_stopped_between_two_phases_the_first_is_not_trained_again(tmp_path, mine, corpus, typed):
    shutil.copytree(typed / "first", tmp_path / "first")
    before = (tmp_path / "first" / "checkpoint.safetensors").stat().st_mtime_ns
    runs = phases(f"{mine}:mine", *WORDS, on=corpus, out=tmp_path)
    assert [*runs] == [*FOLDERS]
    assert (tmp_path / "first" / "checkpoint.safetensors").stat().st_mtime_ns == before
    assert_identical(typed / "second", tmp_path / "second")


def test_what_is_fine_tuned_begins_with_exactly_the_encoder_of_the_phase_before(tmp_path, mine, corpus):
    runs = phases(f"{mine}:tuned", "seed=1", on=corpus, out=tmp_path)
    assert all(run.finished for run in runs.values())
    for before, name in (("pretrained", "supervised"), ("supervised", "target")):
        config = read_run_config_of(runs[name].folder, Finetune).config
        assert Path(config.init) == runs[before].folder
        begun = fresh_classifier(config, 2, from_run=True).model.encoder.state_dict()
        theirs = part(read_weights_of(runs[before].folder), "encoder")
        assert begun.keys() == {key for key in theirs if not key.startswith("norm.")}
        for key, value in begun.items():
            assert torch.equal(value, theirs[key]), key
    assert weights_file(runs["target"].folder).exists()


def test_a_wrong_word_of_any_phase_is_refused_before_the_first_is_trained(tmp_path, mine, corpus, capsys):
    command = ["phases", f"{mine}:mine", "second.masker.ratoi=0.5", "--on", str(corpus), "--out", str(tmp_path / "r")]
    assert main(command) == 2
    assert "ratio" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    command[2] = "second"
    assert main(command) == 2
    assert "PHASE.key=value; phases: first, second" in capsys.readouterr().err


def test_only_trainings_are_phases():
    def wrong() -> Phases:
        return {"made": "synth"}

    with pytest.raises(RecipeError, match="phase made is of synth; a phase is one of pretrain or finetune"):
        check(resolve_phases(wrong, (), Path("corpus"), Path("out")))


def test_a_word_of_one_phase_changes_that_one_alone_its_corpus_too():
    words = ("seed=1", "target.on=other", "target.steps=5", "supervised.label=shape")
    found = {one.name: one for one in resolve_phases("videomae_v2", words, Path("corpus"), Path("out"))}
    assert found["pretrained"].command == shlex.split(
        "tubelet pretrain videomae_v2 seed=1 --on corpus --out out/pretrained"
    )
    assert found["supervised"].command == shlex.split(
        "tubelet finetune out/pretrained tiny seed=1 --on corpus --out out/supervised --label shape"
    )
    assert found["target"].command == shlex.split(
        "tubelet finetune out/supervised tiny seed=1 steps=5 --on other --out out/target"
    )


@pytest.mark.parametrize("declares", PHASES, ids=lambda declares: declares.__name__)
def test_the_phases_of_tubelet_are_commands_that_it_understands(declares):
    check(resolve_phases(declares, ("seed=1",), Path("corpus"), Path("out")))
