"""What is damaged is refused by name, what was cut off goes on, and nothing is left over: by the command line."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save

import tubelet
from support.small_runs import make_corpus
from tubelet.cli import main
from tubelet.corpus.table import Corpus
from tubelet.errors import TubeletError
from tubelet.log import read_log


@pytest.fixture
def run(tmp_path: Path, corpus: Path, recipes: Path) -> Path:
    """A finished run of a few steps."""
    assert main(pretraining(tmp_path / "run", corpus, recipes)) == 0
    return tmp_path / "run"


def pretraining(run: Path, corpus: Path, recipes: Path) -> list[str]:
    return ["pretrain", f"{recipes}:pixels", "steps=4", "--on", str(corpus), "--out", str(run)]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command says when it refuses."""
    capsys.readouterr()
    assert main(words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("tubelet: ")
    return last


def test_one_flipped_bit_of_a_weight_is_refused_by_name(run, corpus, recipes, capsys):
    path = run / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    said = refused(pretraining(run, corpus, recipes), capsys)
    assert "checkpoint.safetensors" in said
    assert "its checksum does not fit its content" in said
    assert "checkpoint.safetensors" in refused(["embed", str(run), str(corpus), "--out", f"{run}.parquet"], capsys)


@pytest.mark.parametrize("name", ["videos.parquet", "captions.parquet", "corpus.json"])
def test_no_flipped_bit_of_a_corpus_is_read_as_another_corpus(tmp_path, name):
    corpus = make_corpus(tmp_path / "c")
    path, wanted = corpus.folder / name, (corpus.videos, corpus.captions, dict(corpus.about))
    content = path.read_bytes()
    for bit in np.random.default_rng(0).integers(0, 8 * len(content), 40):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        with contextlib.suppress(TubeletError):
            found = Corpus.open(corpus.folder)
            assert (found.videos, found.captions, dict(found.about)) == wanted


def test_a_damaged_line_in_the_middle_of_a_log_is_refused_and_nothing_is_cut_off(run, corpus, recipes, capsys):
    log = run / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) > 4
    lines[1] = lines[1].replace(b'"step"', b'"stfp"', 1)
    log.write_bytes(b"".join(lines))
    for words in (pretraining(run, corpus, recipes), ["report", str(run), "--out", f"{run}.html"]):
        assert "log.jsonl is damaged in line 2" in refused(words, capsys)
    assert log.read_bytes() == b"".join(lines)


def test_an_index_killed_before_it_wrote_its_last_table_goes_on(tmp_path, corpus, capsys):
    words = ["index", str(corpus / "videos"), "--out", str(tmp_path / "c")]
    assert main(words) == 0
    whole = Corpus.open(tmp_path / "c").videos
    for gone in (["corpus.json"], ["corpus.json", "captions.parquet"]):
        for name in gone:
            (tmp_path / "c" / name).unlink(missing_ok=True)
        (tmp_path / "c" / ".captions.parquet.part").write_bytes(b"half a table")
        assert main(words) == 0, capsys.readouterr().err
        assert Corpus.open(tmp_path / "c").videos == whole
        names = {path.name for path in (tmp_path / "c").iterdir()}
        assert {"corpus.json", "videos.parquet", "captions.parquet"} <= names
        assert not [name for name in names if "part" in name]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "videos.parquet").write_bytes(b"precious")
    assert "is no corpus" in refused([*words[:-1], str(tmp_path / "mine")], capsys)


def test_an_aligner_killed_before_its_page_gets_it_from_the_same_command(tmp_path, capsys):
    corpus = make_corpus(tmp_path / "c").folder
    words = ["align", str(corpus), "steps=3", "frames=2", "batch=8"]
    assert main(words) == 0
    page = (corpus / "aligner" / "report.html").read_bytes()
    for name in ("report.html", "training.json", "maps.jpg"):
        (corpus / "aligner" / name).unlink(missing_ok=True)
    weights = (corpus / "aligner" / "aligner.safetensors").read_bytes()
    assert main(words) == 0
    assert (corpus / "aligner" / "report.html").read_bytes() == page
    assert (corpus / "aligner" / "aligner.safetensors").read_bytes() == weights


MERGING = """
import sys
from pathlib import Path
from tubelet.evaluations.results import merge_result
from tubelet.results import Metric, Result
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    merge_result(Path(sys.argv[1]), f"{sys.argv[2]} {number}", Result({"x": Metric(float(number))}))
"""


def test_two_commands_that_write_one_file_of_results_lose_nothing(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", MERGING, str(tmp_path), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in ("one", "other")
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:  # at once: both have read what they import
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said
    results = json.loads((tmp_path / "results.json").read_text())
    assert {f"{name} {number}" for name in ("one", "other") for number in range(25)} <= results.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_what_a_killed_writer_left_is_gone_after_the_same_command(run, corpus, recipes):
    left = [run / ".checkpoint.safetensors.part", run / ".results.json.3.part"]
    for path in left:
        path.write_bytes(b"half")
    assert main(pretraining(run, corpus, recipes)) == 0
    assert not [path for path in left if path.exists()]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "1"), ("kind", 3), ("recipe", None), ("corpus", "c"), ("corpus", {"path": 1}), ("values", []),
        ("steps", "4"), ("steps", None), ("processes", [1]), ("precision", "fp8"), ("text_width", "8"),
        ("derived", []), ("command", "tubelet"),
    ],
)  # fmt: skip
def test_a_field_of_the_wrong_type_in_a_recipe_is_one_line(run, corpus, recipes, capsys, field, value):
    content: dict[str, Any] = json.loads((run / "recipe.json").read_text())
    content.pop("checksum", None)
    (run / "recipe.json").write_text(json.dumps({**content, field: value}))
    assert "recipe.json" in refused(pretraining(run, corpus, recipes), capsys)


def test_a_log_that_is_empty_or_gone_or_lacks_a_kind_is_no_traceback(run, corpus, recipes, capsys):
    record = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    for field in ("kind", "step"):
        text = json.dumps({n: v for n, v in record.items() if n not in (field, "checksum")})
        (run / "log.jsonl").write_text(f"{text}\n")
        said = refused(pretraining(run, corpus, recipes), capsys)
        assert f"log.jsonl is damaged in line 1, or of an earlier version of tubelet (it lacks {field})" in said
    for text in ("", None):
        (run / "log.jsonl").unlink()
        if text is not None:
            (run / "log.jsonl").write_text(text)
        code = main(pretraining(run, corpus, recipes))
        assert code in (0, 2)
        assert "Traceback" not in capsys.readouterr().err
        if not (run / "log.jsonl").exists():
            (run / "log.jsonl").write_text("")


def test_a_current_that_is_no_text_is_one_line(tmp_path, recipes, capsys):
    corpus = make_corpus(tmp_path / "c").folder
    (corpus / "maps" / "text" / "current").write_bytes(b"\xff\xfe\n")
    words = ["pretrain", f"{recipes}:both", "steps=2", "--on", str(corpus), "--out", str(tmp_path / "run")]
    assert "current" in refused(words, capsys)


@pytest.mark.parametrize("column", ["values", "times"])
@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_a_map_that_holds_no_number_is_one_line_that_names_its_file(tmp_path, recipes, capsys, column, number):
    corpus = make_corpus(tmp_path / "c").folder
    for path in (corpus / "maps" / "text").glob("*/shard-*.arrow"):  # as an earlier version wrote them
        batch = pa.ipc.open_file(path.read_bytes()).get_batch(0).replace_schema_metadata(None)
        batch = batch.select([name for name in batch.schema.names if name != "check"])
        kept = batch.column(column)
        numbers = kept.values.to_numpy().copy()
        numbers[:: len(numbers) // len(batch)] = number
        wrong = pa.LargeListArray.from_arrays(kept.offsets, pa.array(numbers, kept.type.value_type))
        batch = batch.set_column(batch.schema.get_field_index(column), column, wrong)
        with pa.ipc.new_file(path, batch.schema) as writer:
            writer.write_batch(batch)
    words = ["pretrain", f"{recipes}:both", "steps=2", "--on", str(corpus), "--out", str(tmp_path / "run")]
    said = refused(words, capsys)
    assert "shard-000000.arrow holds NaN or infinite values in the map of" in said
    assert "run the command that made it again" in said


@pytest.mark.parametrize("line", ['{"key": 1, "reason": "x", "status": "y"}', "[1]", '{"id": "x"}', "nonsense"])
def test_a_wrong_line_among_the_failures_is_one_line(tmp_path, corpus, capsys, line):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "failed.jsonl").write_text(f"{line}\n")
    said = refused(["index", str(corpus / "videos"), "--out", str(tmp_path / "c")], capsys)
    assert "failed.jsonl is damaged in line 1" in said


@pytest.mark.parametrize("step", ["-5", str(10**12), "two", ""])
def test_a_step_that_no_run_comes_to_is_refused(run, corpus, recipes, capsys, step):
    path = run / "checkpoint.safetensors"
    path.write_bytes(save(load_file(path), metadata={"format": "1", "step": step}))
    assert "checkpoint.safetensors" in refused(pretraining(run, corpus, recipes), capsys)
    assert "checkpoint.safetensors" in refused(["embed", str(run), str(corpus), "--out", f"{run}.parquet"], capsys)


def test_a_corpus_whose_name_has_a_backslash_is_like_any_other(tmp_path, corpus, recipes):
    words = ["index", str(corpus / "videos"), "--out", str(tmp_path / "c"), "--name", "a\\b\\1"]
    assert main(words) == 0
    assert main(pretraining(tmp_path / "run", tmp_path / "c", recipes)) == 0
    assert main(["evaluate", str(tmp_path / "run"), "reconstruction", "--on", str(tmp_path / "c")]) == 0
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0


def test_a_tensor_given_to_embed_is_embedded_or_refused_in_words(run):
    clips = torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8)
    with contextlib.suppress(TubeletError):
        assert torch.isfinite(torch.as_tensor(tubelet.embed(tubelet.load_encoder(run), clips))).all()


def test_an_evaluation_measured_again_after_a_kill_is_not_twice_in_the_log(tmp_path, corpus, recipes):
    run, words = tmp_path / "run", [*pretraining(tmp_path / "run", corpus, recipes), "evaluations.knn=Knn"]
    assert main(words) == 0
    lines = (run / "log.jsonl").read_bytes().splitlines(keepends=True)
    (run / "log.jsonl").write_bytes(b"".join(lines[:-1]))  # without its end
    (run / "results.json").unlink()
    assert main(words) == 0
    records = [(record["kind"], record["step"], record.get("name")) for record in read_log(run / "log.jsonl")]
    assert ("evaluation", 4, "knn") in records
    assert len(records) == len(set(records)) == len(lines)
    assert not [name for name in os.listdir(run) if name.endswith(".part")]


def test_a_fine_tuning_killed_before_it_tidied_is_tidied_by_the_same_command(run, corpus, tmp_path):
    words = ["finetune", str(run), "tiny", "batch=2", "steps=2", "optim.base_lr=0.1", "samples=4", "data.cache=False"]
    words += ["--on", str(corpus), "--out", str(tmp_path / "tuned")]
    assert main(words) == 0
    found = set((tmp_path / "tuned").rglob("*"))
    for left in ("checkpoint.safetensors", ".best.safetensors.part"):
        (tmp_path / "tuned" / "rate-0.1" / left).write_bytes(b"of a killed command")
    assert main(words) == 0
    assert set((tmp_path / "tuned").rglob("*")) == found


def test_an_index_killed_before_it_tidied_is_tidied_by_the_same_command(corpus, tmp_path, monkeypatch):
    words = ["index", str(corpus / "videos"), "--out", str(tmp_path / "c")]
    remove = shutil.rmtree

    def killed(path: Any, *others: Any, **more: Any) -> None:
        if Path(path).name == "index.partial":
            raise KeyboardInterrupt
        remove(path, *others, **more)

    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        assert main(words) != 0
    assert (tmp_path / "c" / "index.partial").exists()
    assert main(words) == 0
    assert len(Corpus.open(tmp_path / "c").videos) == 8
    assert not (tmp_path / "c" / "index.partial").exists()
