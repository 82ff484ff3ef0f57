"""Runs of older versions: what is new has its default, and what this version does not know is refused in a sentence.

`older/` holds the recipe and the log of a run of e1015b8, the last version before fields were renamed.
"""

import json
import shutil
from pathlib import Path

import pytest

from support.small_runs import assert_identical, pretrain, start, wait_for_step
from tubelet.checkpoint import CHECKPOINT, checkpoint_step
from tubelet.checksums import write_json
from tubelet.cli import main
from tubelet.runs.folder import OLDER

FOLDER = Path(__file__).parent / "older"
NEWER = (
    "streams", "teacher", "data.augment.repeats", "objectives.pixels.when", "objectives.pixels.on",
    "objectives.pixels.target", "encoder.mlp_ratio", "evaluate_limit",
)  # fmt: skip


@pytest.fixture
def older(tmp_path, corpus) -> Path:
    """The run with a path of a corpus that is there."""
    run = shutil.copytree(FOLDER, tmp_path / "older")
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["corpus"]["path"] = str(corpus)
    (run / "recipe.json").write_text(json.dumps(recipe))
    return run


@pytest.mark.parametrize(
    "words",
    [
        "evaluate RUN knn", "export RUN --to safetensors --out OUT", "embed RUN CORPUS --out OUT.npz",
        "pretrain tiny init=RUN steps=1 --on CORPUS --out OUT", "finetune RUN tiny steps=1 --on CORPUS --out OUT",
        "pretrain tiny steps=6 --on CORPUS --out RUN", "masks CORPUS --like RUN",
    ],
)  # fmt: skip
def test_a_run_with_fields_that_were_renamed_since_is_refused_in_one_sentence_with_the_remedy(
    words, older, corpus, tmp_path, capsys
):
    names = {"RUN": str(older), "CORPUS": str(corpus), "OUT": str(tmp_path / "out")}
    line = [word if not (key := next((k for k in names if k in word), "")) else word.replace(key, names[key])
            for word in words.split()]  # fmt: skip
    before = {path.name: path.read_bytes() for path in older.iterdir()}
    assert main(line) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1] == (
        f"tubelet: {older / 'recipe.json'} does not fit this version of tubelet: it has no field "
        f"data.captions.whose; {OLDER}"
    )
    assert {path.name: path.read_bytes() for path in older.iterdir() if path.name != ".lock"} == before


def test_a_report_of_such_a_run_names_the_line_of_its_log(older, tmp_path, capsys):
    assert main(["report", str(older), "--out", str(tmp_path / "page.html")]) == 2
    assert "log.jsonl is damaged in line 3, or of an earlier version of tubelet (metrics" in capsys.readouterr().err


def test_a_run_that_names_a_part_which_is_no_more_is_refused_so_too(older, capsys):
    recipe = json.loads((older / "recipe.json").read_text())
    recipe["values"]["masker"] = "Gone"
    (older / "recipe.json").write_text(json.dumps(recipe))
    assert main(["evaluate", str(older), "knn"]) == 2
    said = capsys.readouterr().err
    assert "does not fit this version of tubelet: masker=Gone: there is no Masker called 'Gone'" in said
    assert said.strip().endswith(OLDER)


def test_a_run_that_lacks_fields_which_are_new_resumes_bit_for_bit_and_is_exported(tmp_path, corpus, recipes):
    whole, old = tmp_path / "whole", tmp_path / "old"
    words = (f"{recipes}:pixels", "steps=40", "--on", corpus)
    assert pretrain(*words, "--out", whole) == 0
    process = start(*words, "--out", old)
    wait_for_step(process, old, 6)
    process.kill()
    process.communicate()
    assert checkpoint_step(old / CHECKPOINT) in range(5, 40)
    recipe = json.loads((old / "recipe.json").read_text())
    kept = {name: value for name, value in recipe["values"].items() if not name.startswith(NEWER)}
    assert {"teacher", "objectives.pixels.target"} <= recipe["values"].keys() - kept.keys()
    write_json(old / "recipe.json", {**recipe, "values": kept})
    assert pretrain(*words, "--out", old) == 0
    assert_identical(whole, old)
    assert main(["export", str(old), "--to", "safetensors", "--trust-code", "--out", str(tmp_path / "out")]) == 0
