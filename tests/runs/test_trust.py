"""Opening a run folder of somebody else's executes nothing, unless the user says that he trusts it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import RECIPE

import tubelet
from tubelet.cli import main

OWN = '''
import chz


@chz.chz
class Mine(Tube):
    """A masker of a user's own."""


def mine():
    return chz.replace(pixels(), masker=Mine(ratio=0.5), steps=2)


def plain():
    return chz.replace(pixels(), steps=2)
'''


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory) -> dict[str, Path]:
    """A run of a file's own masker and one whose recipe is of the file and whose parts are not."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "mine.py").write_text(RECIPE + OWN)
    for name in ("mine", "plain"):
        words = ["pretrain", f"{folder / 'mine.py'}:{name}", "--on", str(corpus), "--out", str(folder / name)]
        subprocess.run([sys.executable, "-m", "tubelet", *words], check=True, capture_output=True)
    return {"folder": folder, "mine": folder / "mine", "plain": folder / "plain"}


@pytest.fixture
def strangers(made, tmp_path):
    """A copy of a run whose recipe is said to be of a file that leaves a mark where it is run."""

    def copy(name: str) -> tuple[Path, Path]:
        run, mark = tmp_path / name, tmp_path / "executed"
        shutil.copytree(made[name], run)
        code = (made["folder"] / "mine.py").read_text() + f"\nopen({str(mark)!r}, 'w').close()\n"
        (tmp_path / "evil.py").write_text(code)
        content = json.loads((run / "recipe.json").read_text())
        content["recipe"] = f"{tmp_path / 'evil.py'}:{name}"
        (run / "recipe.json").write_text(json.dumps(content))
        return run, mark

    return copy


def commands(run: Path, corpus: Path, out: Path) -> list[list[str]]:
    return [
        ["evaluate", str(run), "--on", str(corpus), "reconstruction"],
        ["embed", str(run), str(corpus / "videos"), "--out", str(out / "features.parquet")],
        ["export", str(run), "--to", "safetensors", "--out", str(out / "exported")],
        ["finetune", str(run), "--on", str(corpus), "--out", str(out / "tuned"), "steps=1"],
        ["pretrain", "tiny", "--on", str(corpus), "--out", str(out / "warm"), f"init={run}", "steps=1"],
        ["predict", str(run), str(corpus / "videos"), "--out", str(out / "p.parquet")],
        ["search", str(run), "a red disc"],
        ["masks", str(corpus), "tube", "--like", str(run), "--clips", "1", "--out", str(out / "masks")],
    ]


@pytest.mark.parametrize("place", range(8))
def test_no_command_runs_a_file_that_a_run_names_and_says_in_one_line_what_would(
    strangers, corpus, tmp_path, capsys, place
):
    run, mark = strangers("mine")
    words = commands(run, corpus, tmp_path)[place]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "--trust-code" in error
    assert error.count("\n") == 1
    assert not mark.exists()


def test_a_run_of_plain_values_opens_without_the_file_that_its_recipe_came_from(strangers, corpus, tmp_path, made):
    run, mark = strangers("plain")
    (made["folder"] / "mine.py").rename(made["folder"] / "away.py")
    try:
        for words in commands(run, corpus, tmp_path)[:3]:
            assert main(words) == 0, words
        assert tubelet.load_encoder(run).width == 32
    finally:
        (made["folder"] / "away.py").rename(made["folder"] / "mine.py")
    assert not mark.exists()


def test_code_is_run_where_the_user_trusts_it_by_the_command_line_and_in_python(strangers, tmp_path):
    """In processes of their own: classes that a process has loaded stay known in it."""
    run, mark = strangers("mine")
    words = ["export", str(run), "--to", "safetensors", "--out", str(tmp_path / "exported"), "--trust-code"]
    subprocess.run([sys.executable, "-m", "tubelet", *words], check=True, capture_output=True)
    assert mark.exists()
    mark.unlink()
    opened = f"import tubelet; print(tubelet.load_encoder({str(run)!r}, trust_code=True).width)"
    assert subprocess.run([sys.executable, "-c", opened], check=True, capture_output=True, text=True).stdout == "32\n"
    assert mark.exists()


def test_the_user_who_names_his_own_file_trusts_it_and_his_run_goes_on(made, corpus):
    words = ["pretrain", f"{made['folder'] / 'mine.py'}:mine", "--on", str(corpus), "--out", str(made["mine"])]
    done = subprocess.run([sys.executable, "-m", "tubelet", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_class_of_the_file_that_bears_the_name_of_one_of_ours_is_not_taken_for_it(strangers, capsys):
    run, mark = strangers("plain")
    content = json.loads((run / "recipe.json").read_text())
    content["own"] = ["masker"]
    (run / "recipe.json").write_text(json.dumps(content))
    assert main(["export", str(run), "--to", "safetensors", "--out", str(run.parent / "exported")]) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert not mark.exists()


@pytest.mark.parametrize("width", [10**12, 10**30])
def test_a_recipe_of_absurd_sizes_is_one_line(strangers, capsys, width):
    run, _ = strangers("plain")
    content = json.loads((run / "recipe.json").read_text())
    content["values"] |= {"encoder.width": width, "encoder.heads": 1}
    (run / "recipe.json").write_text(json.dumps(content))
    assert main(["export", str(run), "--to", "safetensors", "--out", str(run.parent / "exported")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["../../x", "a\\b", "x" * 300, "\x1b[2J\n"])
def test_a_corpus_of_any_name_makes_an_evaluation_write_into_its_run_alone(strangers, corpus, tmp_path, name):
    run, _ = strangers("plain")
    other = tmp_path / "other"
    shutil.copytree(corpus, other)
    about = json.loads((other / "corpus.json").read_text())
    (other / "corpus.json").write_text(json.dumps(about | {"name": name}))
    content = json.loads((run / "recipe.json").read_text())
    content["corpus"]["fingerprint"] = "of another"
    (run / "recipe.json").write_text(json.dumps(content))
    before = {path for path in tmp_path.rglob("*") if run not in path.parents and other not in path.parents}
    assert main(["evaluate", str(run), "--on", str(other), "linear", "linear.grid=1.0", "--allow-seen"]) == 0
    assert {path for path in tmp_path.rglob("*") if run not in path.parents and other not in path.parents} == before
    (kept,) = (run / "classifiers").iterdir()
    assert kept.suffix == ".safetensors"
    (entry,) = json.loads((run / "results.json").read_text())
    assert name in entry
    assert main(["report", str(run), "--out", str(tmp_path / "r.html")]) == 0


def test_a_current_file_that_points_out_of_its_folder_is_refused(corpus, tmp_path, capsys):
    for place, name in enumerate(("../../outside", "/etc", "..", ".", "a/b")):
        other = tmp_path / f"corpus {place}"
        shutil.copytree(corpus, other)
        (other / "maps" / "text" / "current").write_text(name)
        assert main(["masks", str(other), "Text", "--clips", "1", "--out", str(tmp_path / "masks")]) == 2
        error = capsys.readouterr().err
        assert "names no folder beside it" in error
        assert error.count("\n") == 1
