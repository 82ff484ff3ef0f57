"""`refit=True`: what was selected on a part of train is trained once more on all of it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tubelet.cli import main
from tubelet.results import Result, read_results

WORDS = ("tiny", "batch=2", "steps=6", "evaluate_every=3", "samples=20", "data.cache=False", "optim.warmup=0.0")


def finetune(*words: object) -> int:
    return main(["finetune", *map(str, words)])


def result(run: Path) -> Result:
    return read_results(run)["finetune"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, corpus, recipes) -> Path:
    out = tmp_path_factory.mktemp("pretrained") / "run"
    assert main(["pretrain", f"{recipes}:pixels", "steps=2", "--on", str(corpus), "--out", str(out)]) == 0
    return out


def test_it_is_the_training_on_all_of_train_at_the_rate_and_the_step_that_were_selected(pretrained, corpus, tmp_path):
    on = ("--on", corpus, "--out")
    assert finetune(pretrained, *WORDS, "rates=0.01,0.02", *on, tmp_path / "selected") == 0
    assert finetune(pretrained, *WORDS, "rates=0.01,0.02", "refit=True", *on, tmp_path / "refit") == 0
    before, after = result(tmp_path / "selected"), result(tmp_path / "refit")
    assert after.protocol["selected"] == before.protocol["selected"]
    assert after.metrics["held_out.accuracy"].value == before.metrics["held_out.accuracy"].value
    rate, step = before.protocol["selected"]["rate"], before.protocol["selected"]["step"]
    until = max(1, step)
    assert before.protocol["refit"].startswith("no:")
    assert after.protocol["refit"].endswith(f"step {until} of 6")
    assert after.step == until
    kept = load_file(tmp_path / "refit" / "classifier.safetensors")
    if until == 6:
        whole = ("held_out=0", f"optim.base_lr={rate}")
        assert finetune(pretrained, *WORDS, *whole, *on, tmp_path / "whole") == 0
        for name, value in load_file(tmp_path / "whole" / "classifier.safetensors").items():
            assert torch.equal(kept[name], value), name
    other = load_file(tmp_path / "selected" / "classifier.safetensors")
    assert any(not torch.equal(kept[name], value) for name, value in other.items())
    assert not list((tmp_path / "refit").rglob("best.safetensors"))
    assert not list((tmp_path / "refit").rglob("checkpoint.safetensors"))


def test_a_finished_one_is_left_alone(pretrained, corpus, tmp_path, capsys):
    words = (pretrained, *WORDS, "rates=0.01", "refit=True", "--on", corpus, "--out", tmp_path / "run")
    assert finetune(*words) == 0
    kept = (tmp_path / "run" / "classifier.safetensors").read_bytes()
    capsys.readouterr()
    assert finetune(*words) == 0
    assert "is finished" in capsys.readouterr().err
    assert (tmp_path / "run" / "classifier.safetensors").read_bytes() == kept
