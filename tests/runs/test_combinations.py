"""The combinations that `docs/methods.md` lists train, go on bit for bit and reconstruct, as they are typed there."""

import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import tubelet
from support.small_runs import assert_identical, make_corpus, pretrain, steps
from support.small_tasks import small_aligner
from tubelet.runs.folder import load_task
from tubelet.stores.maps import MapsWriter

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
LINES = PAGE.read_text().partition("## Ten combinations")[2].partition("```sh\n")[2].partition("```")[0].splitlines()
NAMES = [line.rpartition("/")[2] for line in LINES]
FAST = ("two-clips-of-umt", "masked-codes")  # the others take a minute together
SMALL = (
    "clip.size=32", "clip.tubelet_size=8", "encoder.width=32", "encoder.depth=1", "encoder.heads=2",
    "data.sampling.stride=1", "data.cache=False", "batch=4", "log_every=1", "save_every=7", "steps=20",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a corpus that has maps of every kind, its aligner, and a tokenizer."""
    folder = tmp_path_factory.mktemp("combined")
    corpus = make_corpus(folder / "corpora" / "synth")
    rng = np.random.default_rng(0)
    kinds = {"motion": ("vector", 0, (2,)), "oracle": ("scalar", 0, ()), "parts": ("parts", 5, (5,))}
    for name, (kind, parts, values) in kinds.items():
        with MapsWriter(corpus, name, kind, {"reading": "random numbers"}, parts) as maps:
            for video in corpus.select("all"):
                drawn = rng.dirichlet(np.ones(5), (2, 3, 3)) if parts else rng.random((2, 3, 3, *values))
                maps.add(video, "", drawn.astype(np.float32), np.array([0.0, 0.5, 1.0])[: 3 if kind == "vector" else 2])
            maps.finish()
    small_aligner(corpus.folder)
    words = ("vq", "clip.frames=4", *SMALL, "objectives.pixels.size=16")
    assert pretrain(*words, "--on", corpus.folder, "--out", folder / "runs" / "vq") == 0
    return folder


def test_there_are_ten():
    assert len(NAMES) == len({*NAMES}) == 10
    assert {*FAST} < {*NAMES}


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=name, marks=[] if name in FAST else pytest.mark.slow)
             for line, name in zip(LINES, NAMES, strict=True)],
)  # fmt: skip
def test_a_combination_trains_goes_on_bit_for_bit_and_reconstructs(line, place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    command, verb, recipe, *words, _, corpus, _, _ = shlex.split(line)
    assert (command, verb) == ("tubelet", "pretrain")
    words = [*(() if recipe == "siam_mae" else ("clip.frames=4",)), *SMALL, *words]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run = tubelet.pretrain(recipe, *words, on=corpus, out=whole)
    assert run.finished
    logged = [value for record in steps(whole) for value in record.values() if isinstance(value, float)]
    assert np.isfinite(logged).all()

    def stop(done: int, total: int, told: str) -> None:
        if done == 9:
            signal.raise_signal(signal.SIGINT)

    assert not tubelet.pretrain(recipe, *words, on=corpus, out=cut, progress=stop).finished
    assert tubelet.pretrain(recipe, *words, on=corpus, out=cut).finished
    assert_identical(whole, cut)
    if load_task(whole)[1].pixel_head is not None:
        rebuilt = run.reconstruct(clips=2)
        assert rebuilt.prediction.shape == rebuilt.target.values.shape
        assert torch.isfinite(rebuilt.prediction).all()
