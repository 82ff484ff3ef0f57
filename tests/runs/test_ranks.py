"""Two processes under torchrun are one process with twice the batch."""

from pathlib import Path

import pytest
import torch
from small_runs import assert_identical, kill_ranks, make_corpus, pretrain, start_ranks, steps, tensors, wait_for_step

pytestmark = pytest.mark.timeout(600)


def torchrun(*words: object) -> tuple[int, str]:
    """The exit code, and what was said."""
    process = start_ranks("pretrain", *words)
    try:
        said = process.communicate(timeout=500)[1]
        return process.returncode, said
    finally:
        kill_ranks(process)


@pytest.mark.parametrize(
    ("recipe", "terms"),
    [
        ("both", ("pixels", "pixels.trivial", "contrast", "contrast.temperature")),
        pytest.param("adaptive", ("pixels", "masker", "masker.entropy"), marks=pytest.mark.slow),
    ],
)
def test_two_ranks_train_what_one_trains_on_the_same_clips(tmp_path, corpus, recipes, recipe, terms):
    """Pixels, the contrast's gathered candidates and a learned masker, with gradients accumulated."""
    two, one = tmp_path / "two", tmp_path / "one"
    words = (f"{recipes}:{recipe}", "steps=6", "accumulate=2", "--on", corpus)
    code, said = torchrun(*words, "batch=2", "--out", two)
    assert code == 0, said
    assert pretrain(*words, "batch=4", "--out", one) == 0

    assert [record["step"] for record in steps(two)] == list(range(1, 7))
    assert_close(one, two, terms)


def test_every_clip_counts_the_same_when_one_rank_has_fewer_that_can_be_read(tmp_path, recipes):
    """Of six clips one cannot be read, so that in some steps one rank has fewer clips than the other."""
    corpus = make_corpus(tmp_path / "corpus")
    corpus.select("train")[2].path.write_bytes(b"no video")
    two, one = tmp_path / "two", tmp_path / "one"
    words = (f"{recipes}:both", "masker=Tube", "masker.ratio=0.5", "steps=2", "max_failed=1", "data.cache=False")
    words = (*words, "--on", corpus.folder)
    code, said = torchrun(*words, "batch=2", "--out", two)
    assert code == 0, said
    assert pretrain(*words, "batch=4", "--out", one) == 0
    assert sum(len(record["failed"]) for record in steps(two)) == 1
    assert_close(one, two, ("pixels", "pixels.trivial", "contrast", "contrast.temperature"), weights=5e-5)


def assert_close(one: Path, two: Path, terms: tuple[str, ...], weights: float = 2e-6) -> None:
    """The same losses at every step, and the same weights at the end.

    AdamW's first steps make much of gradients near 0, so after few steps weights may be allowed more.
    """
    for ours, theirs in zip(steps(one), steps(two), strict=True):
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-5)
        for term in ("loss", "lr", *terms):
            assert ours[term] == pytest.approx(theirs[term], abs=2e-6), (term, ours["step"])
    ours, theirs = tensors(one), tensors(two)
    assert ours.keys() == theirs.keys()
    for name in ours:
        # gradients of a new policy are near 0, and AdamW makes steps of their rounding: its terms are compared
        if name.startswith("task.") and not name.startswith("task.policy."):
            torch.testing.assert_close(ours[name], theirs[name], atol=weights, rtol=0, msg=name)


def test_a_refusal_ends_every_rank_with_one_line(tmp_path, corpus, recipes):
    (tmp_path / "notes.txt").write_text("mine")
    code, said = torchrun(f"{recipes}:pixels", "--on", corpus, "--out", tmp_path)
    assert code != 0
    assert said.count("tubelet: ") == 1
    assert f"{tmp_path} holds notes.txt and is no run" in said
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_two_ranks_go_on_bit_for_bit_after_a_kill(tmp_path, corpus, recipes):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = (f"{recipes}:both", "steps=80", "save_every=7", "--on", corpus)
    code, said = torchrun(*words, "--out", whole)
    assert code == 0, said
    process = start_ranks("pretrain", *words, "--out", cut)
    wait_for_step(process, cut, 20)
    kill_ranks(process)
    code, said = torchrun(*words, "--out", cut)
    assert code == 0, said
    assert "going on from step" in said
    assert_identical(whole, cut)
