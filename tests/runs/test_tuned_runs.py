"""A fine-tuned run is a run: every command that takes a run takes it, and it is its encoder that is used."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import tubelet
from tubelet.cli import main
from tubelet.results import read_results
from tubelet.runs.folder import load_task

TINY = ("tiny", "batch=2", "steps=4", "rates=0.1", "samples=20", "data.cache=False")


def said(capsys, *words: object) -> tuple[int, str]:
    """`tubelet ...` in this process: its exit code and all that it prints."""
    status = main([str(word) for word in words])
    printed = capsys.readouterr()
    return status, printed.out + printed.err


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, corpus, recipes) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    words = [f"{recipes}:both", "steps=3", "--on", str(corpus), "--out", str(folder / "run")]
    assert main(["pretrain", *words]) == 0
    assert main(["finetune", str(folder / "run"), *TINY, "--on", str(corpus), "--out", str(folder / "tuned")]) == 0
    return folder / "tuned"


def encoder_tensors(run: Path) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix("encoder."): value
        for name, value in load_file(run / "classifier.safetensors").items()
        if name.startswith("encoder.")
    }


def test_its_own_encoder_is_what_python_and_embed_use(tuned, corpus, tmp_path, capsys):
    encoder = tubelet.load_encoder(tuned)
    wanted = encoder_tensors(tuned)
    assert wanted.keys() == encoder.state_dict().keys()
    assert all(torch.equal(wanted[name], value) for name, value in encoder.state_dict().items())
    assert all(
        torch.equal(one, other)
        for one, other in zip(
            encoder.parameters(), tubelet.load_encoder(tuned / "classifier.safetensors").parameters(), strict=True
        )
    )
    video = next((corpus / "videos").glob("*.mp4"))
    assert said(capsys, "embed", tuned, video, "--out", tmp_path / "features.parquet", "--workers", 1)[0] == 0
    [row] = pq.read_table(tmp_path / "features.parquet").to_pylist()
    torch.testing.assert_close(torch.tensor(row["feature"]), tubelet.embed(encoder, video)[0], rtol=0, atol=1e-6)


def test_it_is_measured_beside_its_own_result_and_its_probe_predicts_too(tuned, corpus, tmp_path, capsys):
    before = read_results(tuned)["finetune"]
    status, printed = said(capsys, "evaluate", tuned, "linear", "knn", "--baseline", "random")
    assert status == 0, printed
    found = read_results(tuned)
    assert found["finetune"] == before
    assert set(found) == {"finetune", "linear", "knn"}
    assert found["linear"].step == before.step
    assert found["linear"].trained_on["encoder"] == ["train"]
    status, printed = said(capsys, "evaluate", tuned, "reconstruction")
    assert status == 2
    assert "no objective `pixels`" in printed
    video = next((corpus / "videos").glob("*.mp4"))
    for number, words in enumerate(([], ["--classifier", "linear"], ["--classifier", "finetune"])):
        assert said(capsys, "predict", tuned, video, *words, "--out", tmp_path / f"{number}.parquet")[0] == 0
    status, printed = said(capsys, "report", tuned, "--out", tmp_path / "page.html")
    assert status == 0, printed
    status, printed = said(capsys, "compare", tuned, tuned.parent / "run")
    assert status == 0, printed


def test_its_classifier_is_measured_again_to_the_same_numbers(tuned, capsys):
    before = read_results(tuned)["finetune"]
    status, printed = said(capsys, "evaluate", tuned)
    assert status == 0, printed
    found = read_results(tuned)["finetune"]
    for part in (
        "metrics",
        "counts",
        "failed",
        "details",
        "protocol",
        "classes",
        "notes",
        "corpus",
        "view",
        "step",
        "seed",
    ):
        assert getattr(found, part) == getattr(before, part), part
    assert set(found.warnings) == set(before.warnings)
    assert found.contamination["shared"] == before.contamination["shared"]
    assert found.settings == "FineTuned(views='1x1', samples=20, measure='auto')"
    status, printed = said(capsys, "evaluate", tuned, "finetune.views=2x1")
    assert status == 0, printed
    assert read_results(tuned)["finetune"].protocol["test"].startswith("2x1 views")
    status, printed = said(capsys, "evaluate", tuned, "finetune.views=1x1")
    assert read_results(tuned)["finetune"].metrics == before.metrics


def test_one_of_a_table_of_labels_is_measured_with_that_table(tuned, corpus, tmp_path, capsys):
    videos = tubelet.Corpus.open(corpus).videos
    table, out = tmp_path / "labels.csv", tmp_path / "run"
    table.write_text("id,label\n" + "".join(f"{video.id},{video.label}\n" for video in videos))
    run = tubelet.finetune(tuned, *TINY, on=corpus, out=out, labels=table)
    before = run.results["finetune"]
    status, printed = said(capsys, "evaluate", out)
    assert status == 2
    assert "was fine-tuned to a table of labels" in printed
    status, printed = said(capsys, "evaluate", out, "--labels", table)
    assert status == 0, printed
    assert read_results(out)["finetune, label label"].metrics == before.metrics


def test_it_is_fine_tuned_again_from_its_own_weights(tuned, corpus, tmp_path, capsys):
    out = tmp_path / "again"
    words = ["optim.base_lr=1e-12", "optim.floor_lr=0", *(word for word in TINY if "rates" not in word)]
    status, printed = said(capsys, "finetune", tuned, *words, "--on", corpus, "--out", out)
    assert status == 0, printed
    wanted = encoder_tensors(tuned)  # a rate of nothing leaves them as they were
    for name, value in encoder_tensors(out).items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-6)
    status, printed = said(capsys, "evaluate", out, "knn")
    assert status == 0, printed


def test_pretraining_begins_with_its_encoder(tuned, corpus, recipes, tmp_path, capsys):
    words = [f"{recipes}:pixels", f"init={tuned}", "optim.base_lr=1e-12", "steps=2", "--on", corpus]
    status, printed = said(capsys, "pretrain", *words, "--out", tmp_path / "run")
    assert status == 0, printed
    assert "new: encoder.norm (fine-tuning leaves it out)" in printed
    _, task = load_task(tmp_path / "run")
    state = task.encoder.state_dict()
    for name, value in encoder_tensors(tuned).items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=1e-6)
    status, printed = said(capsys, "pretrain", *words, "encoder.final_norm=False", "--out", tmp_path / "plain")
    assert status == 0, printed
    assert "encoder.norm" not in printed


def test_it_is_exported_and_lends_its_shape_to_masks_and_cannot_be_searched(tuned, corpus, tmp_path, capsys):
    status, printed = said(capsys, "export", tuned, "--to", "safetensors", "--out", tmp_path / "out")
    assert status == 0, printed
    status, printed = said(capsys, "masks", corpus, "Tube:ratio=0.5", "--like", tuned, "--clips", 2, "--pictures", 1)
    assert status == 0, printed
    status, printed = said(capsys, "search", tuned, "a red square")
    assert status == 2
    assert "cannot be searched by text" in printed
    assert "Traceback" not in printed


def test_an_unfinished_one_says_how_to_finish_it(tuned, tmp_path, capsys):
    (tmp_path / "recipe.json").write_text((tuned / "recipe.json").read_text())
    status, printed = said(capsys, "embed", tmp_path, tmp_path, "--out", tmp_path / "features.parquet")
    assert status == 2
    assert "not finished" in printed
