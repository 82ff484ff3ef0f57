"""From `vq` to `beit` on the command line: a tokenizer is a run, and another run learns its codes."""

import json
import shutil

import torch

from support.small_runs import pretrain, steps
from tubelet.cli import main
from tubelet.evaluations.trained_on import FILE, TrainedOn
from tubelet.results import read_results
from tubelet.runs.folder import load_task

SMALL = (
    "clip.frames=4", "clip.size=32", "data.sampling.stride=1", "data.cache=False", "encoder.width=32",
    "encoder.depth=1", "encoder.heads=2", "optim.base_lr=0.1", "batch=4", "log_every=1", "save_every=7", "steps=20",
)  # fmt: skip
VQ = ("vq", *SMALL, "objectives.pixels.size=24", "objectives.pixels.width=6", "objectives.pixels.patience=3")
BEIT = ("beit", *SMALL, "masker=Random", "masker.ratio=0.5")


def test_a_tokenizer_is_trained_and_its_codes_are_learned_by_others(tmp_path, corpus, capsys):
    vq = tmp_path / "vq"
    assert pretrain(*VQ, "--on", corpus, "--out", vq) == 0
    assert max(record["pixels.perplexity"] for record in steps(vq)) > 2
    assert main(["evaluate", str(vq), "reconstruction", "--on", str(corpus)]) == 0
    assert "copy_r2" not in read_results(vq)["reconstruction"].references  # what is visible is its own copy
    learned = (*BEIT, f"teacher.init={vq}", "--on", corpus)
    assert pretrain(*learned, "--out", tmp_path / "whole") == 0
    assert "the encoder and the 24 codes of" in capsys.readouterr().err
    assert pretrain("motion_aura", *SMALL, "masker.ratio=0.5", *learned[-3:], "--out", tmp_path / "frames") == 0
    for name in ("whole", "frames"):
        assert {"codes", "codes.baseline", "codes.accuracy", "codes.rank"} <= steps(tmp_path / name)[-1].keys()

    recorded = json.loads((tmp_path / "whole" / "recipe.json").read_text())["values"]
    assert recorded["teacher.codebook"] == [24, 6]
    record = TrainedOn.read(tmp_path / "whole" / FILE)
    assert {clip.origin for clip in record.clips} == {None, str(vq)}
    theirs = load_task(vq)[1].objectives["pixels"].codebook.state_dict()
    shutil.rmtree(vq)  # a checkpoint is whole
    kept = load_task(tmp_path / "whole")[1].teacher.codebook.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in theirs.items())
    assert pretrain(*learned, "--out", tmp_path / "whole") == 0  # it is finished, and needs its tokenizer no more


def test_a_run_without_codes_is_no_tokenizer(tmp_path, corpus, recipes, capsys):
    assert pretrain(f"{recipes}:pixels", "steps=1", "--on", corpus, "--out", tmp_path / "pixels") == 0
    words = (*BEIT, f"teacher.init={tmp_path / 'pixels'}", "--on", corpus, "--out", tmp_path / "run")
    assert pretrain(*words) == 2
    assert "has no codebook; name a run of the recipe vq" in capsys.readouterr().err
    assert pretrain(*words, "teacher=Frozen") == 2
    assert "this teacher gives none" in capsys.readouterr().err
    assert pretrain(*BEIT, "--on", corpus, "--out", tmp_path / "run") == 2
    assert "teacher.init=RUN" in capsys.readouterr().err
