"""Two processes under torchrun measure what one measures, digit for digit, while training and afterwards."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from support.small_runs import kill_ranks, steps
from support.small_runs import start_ranks as launch
from tubelet.cli import main
from tubelet.log import read_log

pytestmark = pytest.mark.timeout(900)

PROTOCOLS = (
    "linear",
    "attentive",
    "knn",
    "few_shot",
    "low_label",
    "zero_shot",
    "retrieval",
    "propagation",
    "reconstruction",
)
QUICK = ("few_shot.episodes=20", "attentive.epochs=2")
OF_THE_COMMAND = ("asked", "versions")


def on_two_ranks(verb: str, *words: object) -> str:
    process = launch(verb, *words)
    try:
        _, said = process.communicate(timeout=800)
        assert process.returncode == 0, said
        return said
    finally:
        kill_ranks(process)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With labels, captions, text maps and truth: all that any protocol asks for."""
    corpus = tmp_path_factory.mktemp("rendered") / "corpus"
    for words in (
        f"synth --out {corpus} --train 27 --test 19 --size 64 --frames 16 --workers 2",
        f"align {corpus} steps=3 batch=8",
        f"saliency {corpus} Text --workers 1",
    ):
        assert main(words.split()) == 0
    return corpus


@pytest.fixture(scope="module")
def trained(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    words = (
        f"pretrain tiny_text_guided steps=2 batch=4 data.cache=False data.sampling.stride=1 --on {rendered} --out {run}"
    )
    assert main(words.split()) == 0
    shutil.rmtree(run / "features", ignore_errors=True)
    return run


def entries(run: Path) -> dict[str, object]:
    results = json.loads((run / "results.json").read_text())
    return {
        name: {key: value for key, value in entry.items() if key not in OF_THE_COMMAND}
        for name, entry in results.items()
        if isinstance(entry, dict)
    }


def test_every_protocol_gives_on_two_ranks_the_figures_of_one(tmp_path, rendered, trained):
    """Of 19 clips in batches of 4 the last batch is not full, and one rank has a batch more than the other."""
    one, two = tmp_path / "one" / "run", tmp_path / "two" / "run"
    for run in (one, two):
        shutil.copytree(trained, run)
        (run / "results.json").unlink()
    words = (*PROTOCOLS, *QUICK, "--batch", 4, "--on", rendered)
    shutil.rmtree(rendered / "features", ignore_errors=True)
    assert main([*map(str, ("evaluate", one, *words, "--baseline", "mean_image"))]) == 0
    shutil.rmtree(rendered / "features", ignore_errors=True)
    on_two_ranks("evaluate", two, *words, "--baseline", "mean_image")
    first, second = entries(one), entries(two)
    assert set(first) == set(PROTOCOLS)
    for name in first:
        assert second[name] == first[name], name
    kept = {path.relative_to(one) for path in one.rglob("*.safetensors")}
    assert kept
    assert kept == {path.relative_to(two) for path in two.rglob("*.safetensors")}
    for path in kept:
        first, second = load_file(one / path), load_file(two / path)
        assert all(first[name].equal(second[name]) for name in first)


@pytest.mark.slow
def test_evaluations_while_training_are_those_of_one_rank_that_goes_on_from_the_same_weights(tmp_path, rendered):
    """At step 0 all ranks have the weights of the seed, and so has one process."""
    one, two = tmp_path / "one", tmp_path / "two"
    several = [f"evaluations.{name.lower()}={name}" for name in ("Knn", "Retrieval", "Reconstruction", "FewShot")]
    words = (
        "tiny_text_guided",
        *several,
        "data.cache=False",
        "data.sampling.stride=1",
        "evaluate_every=1",
        "steps=2",
        "--on",
        rendered,
    )
    assert main([*map(str, ("pretrain", *words, "batch=4", "--out", one))]) == 0
    said = on_two_ranks("pretrain", *words, "batch=2", "--out", two)
    assert "not measured" not in said
    first, second = (
        [record for record in read_log(run / "log.jsonl") if record["kind"] == "evaluation"] for run in (one, two)
    )
    assert [record["step"] for record in first] == [record["step"] for record in second] == [0] * 5 + [1] * 5 + [2] * 5
    for ours, theirs in zip(first[:5], second[:5], strict=True):
        assert (ours["name"], ours["metrics"]) == (theirs["name"], theirs["metrics"])
    assert len(steps(two)) == 2


def test_a_clip_that_only_one_rank_reads_and_cannot_is_named_once(tmp_path, rendered, trained):
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    shutil.copytree(rendered, corpus)
    shutil.copytree(trained, run)
    bad = max(corpus.rglob("*.mp4"))
    bad.write_bytes(b"no video")
    on_two_ranks("evaluate", run, "knn", "--batch", 4, "--on", corpus)
    [entry] = [value for name, value in entries(run).items() if name.startswith("knn")]
    assert sum(bad.stem in line for split in entry["failed"].values() for line in split) == 1
