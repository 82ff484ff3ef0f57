"""Opening a run folder of somebody else's executes nothing, unless the user says that he trusts it."""

import json
import math
import shutil
from hashlib import blake2b
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

import tubelet
from support.small_runs import RECIPE
from support.strangers import PAYLOADS, content_of, rewrite
from tubelet.cli import main
from tubelet.results import Metric, Result, write_result

OWN = '''
import chz


@chz.chz
class {masker}(Tube):
    """A masker of a user's own."""


def mine():
    return chz.replace(pixels(), masker={masker}(ratio=0.5), steps=2)
'''


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory) -> Path:
    """A run whose recipe is of a file, and whose parts are not."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "plain.py").write_text(RECIPE)
    words = ["pretrain", f"{folder / 'plain.py'}:pixels", "--on", str(corpus), "--out", str(folder / "plain")]
    assert main([*words, "steps=2"]) == 0
    return folder / "plain"


@pytest.fixture
def strangers(made, tmp_path):
    """Copies of a run whose recipe is said to be of a file that leaves a mark where it is run. The masker of `mine` is
    a class of that file, of another name each time: classes that a process has loaded stay known in it."""

    def copy(name: str) -> tuple[Path, Path]:
        run, mark = tmp_path / name, tmp_path / "executed"
        shutil.copytree(made, run)
        masker = f"Masker{blake2b(str(tmp_path).encode(), digest_size=6).hexdigest()}"
        (tmp_path / "evil.py").write_text(f"{RECIPE}{OWN.format(masker=masker)}\nopen({str(mark)!r}, 'w').close()\n")
        values = content_of(run / "recipe.json")["values"]
        function, own = ("pixels", []) if name == "plain" else ("mine", ["masker"])
        if own:
            values["masker"] = masker
        rewrite(run / "recipe.json", recipe=f"{tmp_path / 'evil.py'}:{function}", values=values, own=own)
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


@pytest.mark.parametrize("index", range(8))
def test_no_command_runs_a_file_that_a_run_names_and_says_in_one_line_what_would(
    strangers, corpus, tmp_path, capsys, index
):
    run, mark = strangers("mine")
    words = commands(run, corpus, tmp_path)[index]
    code = main(words)
    assert not mark.exists()
    assert code == 2
    error = capsys.readouterr().err
    assert "--trust-code" in error
    assert error.count("\n") == 1


def test_a_run_of_plain_values_opens_without_the_file_that_its_recipe_came_from(strangers, corpus, tmp_path):
    run, mark = strangers("plain")
    (tmp_path / "evil.py").rename(tmp_path / "away.py")
    for words in commands(run, corpus, tmp_path)[:3]:
        assert main(words) == 0, words
    assert tubelet.load_encoder(run).width == 32
    assert not mark.exists()


def test_code_is_run_where_the_user_trusts_it_by_the_command_line(strangers, tmp_path):
    run, mark = strangers("mine")
    assert main(["export", str(run), "--to", "safetensors", "--out", str(tmp_path / "exported"), "--trust-code"]) == 0
    assert mark.exists()


def test_code_is_run_where_the_user_trusts_it_in_python(strangers):
    run, mark = strangers("mine")
    assert tubelet.load_encoder(run, trust_code=True).width == 32
    assert mark.exists()


def test_the_user_who_names_his_own_file_trusts_it_and_his_run_goes_on(corpus, tmp_path):
    (tmp_path / "mine.py").write_text(RECIPE + OWN.format(masker="Trusted"))
    words = ["pretrain", f"{tmp_path / 'mine.py'}:mine", "--on", str(corpus), "--out", str(tmp_path / "run")]
    assert main(words) == 0
    assert main(words) == 0


def test_a_class_of_the_file_that_bears_the_name_of_one_of_ours_is_not_taken_for_it(strangers, capsys):
    run, mark = strangers("plain")
    export = ["export", str(run), "--to", "safetensors", "--out", str(run.parent / "exported")]
    rewrite(run / "recipe.json", own=["masker"])
    assert main(export) == 2
    assert "--trust-code" in capsys.readouterr().err
    content = content_of(run / "recipe.json")
    del content["own"]  # an older run, of which nobody knows
    (run / "recipe.json").write_text(json.dumps(content))
    assert main(export) == 2
    error = capsys.readouterr().err
    assert "--trust-code" in error
    assert error.count("\n") == 1
    assert not mark.exists()
    assert main([*export, "--trust-code"]) == 0


@pytest.mark.parametrize(
    "absurd",
    [
        {"encoder.width": 10**12, "encoder.heads": 1},
        {"encoder.width": 10**30, "encoder.heads": 7},
        {"encoder.depth": 10**12},
        {"objectives.pixels.decoder.depth": 10**12},
        {"encoder.mlp_ratio": float("nan")},
        {"clip.frames": 10**12},
    ],
)
def test_a_recipe_of_absurd_sizes_is_one_line(strangers, capsys, absurd):
    run, _ = strangers("plain")
    rewrite(run / "recipe.json", values=content_of(run / "recipe.json")["values"] | absurd)
    assert main(["export", str(run), "--to", "safetensors", "--out", str(run.parent / "exported")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "features", "log.jsonl", "classifiers/linear.safetensors"])
def test_nothing_is_read_or_written_through_a_link_that_leads_out_of_a_run(strangers, corpus, tmp_path, capsys, name):
    run, _ = strangers("plain")
    outside = tmp_path / "outside"
    outside.mkdir()
    (run / name).parent.mkdir(exist_ok=True)
    if (run / name).is_file():
        shutil.move(run / name, outside / "file")
    elif (run / name).is_dir():
        shutil.rmtree(run / name)
    (run / name).symlink_to(outside if name == "features" else outside / "file")
    before = {path: path.stat().st_mtime_ns for path in (outside, *outside.iterdir())}
    for words in (commands(run, corpus, tmp_path)[0], ["evaluate", str(run), "--on", str(corpus), "linear"]):
        assert main([*words, "--allow-seen"]) == 2
        error = capsys.readouterr().err
        assert "leads out of" in error
        assert error.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in (outside, *outside.iterdir())} == before


def test_a_link_inside_a_run_is_followed(strangers, tmp_path):
    run, _ = strangers("plain")
    (run / "checkpoint.safetensors").rename(run / "weights")
    (run / "checkpoint.safetensors").symlink_to("weights")
    assert tubelet.load_encoder(run).width == 32


@pytest.mark.parametrize("name", ["../../x", "/../../../x", "a\\b", "x" * 300, "\x1b[2J\n"])
def test_a_corpus_of_any_name_makes_an_evaluation_write_into_its_run_alone(strangers, corpus, tmp_path, name):
    run, mark = strangers("plain")
    other = tmp_path / "other"
    shutil.copytree(corpus, other)
    rewrite(other / "corpus.json", name=name)
    trained = content_of(run / "recipe.json")["corpus"] | {"fingerprint": "of another"}
    rewrite(run / "recipe.json", corpus=trained)

    def outside() -> set[Path]:
        """Without what the file that the recipe names leaves where it is run, which is another matter."""
        return {path for path in tmp_path.rglob("*") if not {run, other} & {*path.parents}} - {mark}

    before = outside()
    assert main(["evaluate", str(run), "--on", str(other), "linear", "linear.grid=1.0", "--allow-seen"]) == 0
    assert outside() == before
    (kept,) = (run / "classifiers").iterdir()
    assert kept.suffix == ".safetensors"
    (entry,) = content_of(run / "results.json")
    assert name in entry
    assert main(["report", str(run), "--out", str(tmp_path / "r.html")]) == 0


def test_a_current_file_that_points_out_of_its_folder_is_refused(corpus, tmp_path, capsys):
    for index, name in enumerate(("../../outside", "/etc", "..", ".", "a/b")):
        other = tmp_path / f"corpus {index}"
        shutil.copytree(corpus, other)
        (other / "maps" / "text" / "current").write_text(name)
        assert main(["masks", str(other), "Text", "--clips", "1", "--out", str(tmp_path / "masks")]) == 2
        error = capsys.readouterr().err
        assert "names no folder beside it" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    "payload", [*PAYLOADS[::3], "# heading", "~~~", "---\nlicense: mit\n---", "on", "1. [a]: http://evil.invalid"]
)
def test_the_card_of_a_model_holds_no_link_html_heading_or_field_of_a_strangers(strangers, payload, capsys):
    run, _ = strangers("plain")
    told, out = content_of(run / "recipe.json"), run.parent / "exported"
    corpus = told["corpus"] | {"name": payload, "fingerprint": payload}
    values = told["values"] | {"data.split": payload}
    rewrite(run / "recipe.json", corpus=corpus, values=values, changed=[payload], command=["tubelet", payload])
    metrics = {payload: Metric(0.5, (0.4, 0.6)), "none": Metric(math.nan, unit=payload)}
    (run / "results.json").unlink(missing_ok=True)
    for name in PAYLOADS:
        write_result(run, name, Result(metrics, corpus={"name": name}, warnings=[payload]))
    write_result(run, payload, Result(metrics, warnings=PAYLOADS))
    words = ["--to", "safetensors", "--license", payload, "--out", str(out)]
    assert main(["export", str(run), *words]) == 0, capsys.readouterr()
    _, front, card = (out / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert list(yaml.safe_load(front)) == ["license", "library_name", "pipeline_tag", "tags"]
    assert isinstance(yaml.safe_load(front)["license"], str)
    tokens = MarkdownIt("commonmark").enable("table").parse(card)
    inside = [child.type for token in tokens for child in token.children or ()]
    assert not {"link_open", "image", "html_inline", "strong_open", "em_open"} & set(inside)
    assert "html_block" not in {token.type for token in tokens}
    headings = [tokens[index + 1].content for index, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:] == ["Licence", "Data", "Recipe", "Results", "How to load"]
    assert len([token for token in tokens if token.type == "fence"]) == 1
    cells = [token.type for token in tokens].count("td_open")
    assert cells == 5 * 2 * len({*PAYLOADS, payload})
