"""Every kind of mask from the command line to a measured reconstruction and a report."""

from pathlib import Path

import numpy as np
import pytest

from support.small_runs import make_corpus, pretrain, steps
from tubelet.cli import main
from tubelet.log import read_log
from tubelet.stores.maps import MapsWriter


@pytest.fixture(scope="module")
def mapped(tmp_path_factory) -> Path:
    """A corpus that has, beside its text maps, maps named `oracle`, `attention` and `parts`."""
    corpus = make_corpus(tmp_path_factory.mktemp("mapped") / "small")
    rng = np.random.default_rng(0)
    for name in ("oracle", "attention"):
        with MapsWriter(corpus, name, "scalar", {"reading": "random numbers"}) as maps:
            for video in corpus.select("all"):
                maps.add(video, "", rng.random((2, 3, 3), dtype=np.float32), np.array([0.0, 0.5]))
            maps.finish()
    with MapsWriter(corpus, "parts", "parts", {"reading": "random numbers"}, parts=3) as maps:
        for video in corpus.select("all"):
            maps.add(video, "", rng.dirichlet(np.ones(3), (2, 3, 3)), np.array([0.0, 0.5]))
        maps.finish()
    return corpus.folder


BOTH_ENDS = ("masker=Schedule", "masker.first=Blend", "masker.last=Blend", "masker.last.weights.oracle=2")
NO_MOTION = ("masker.first.weights.motion=0", "masker.last.weights.motion=0")
WORDS = {
    "sampled text": ("masker.pick=sample", "masker.temperature=2"),
    "oracle": ("masker=Oracle",),
    "attention": ("masker=Attention", "masker.ratio=0.5"),
    "blend": ("masker=Blend", "masker.weights.motion=0", "masker.weights.oracle=0.5"),
    "adaptive": ("masker=Adaptive", "masker.ratio=0.5", "decode=RunningCell"),
    "adversary": ("masker=Adversary", "masker.ratio=0.5", "masker.prior=oracle"),
    "parts": ("masker=Parts",),
    "part priority": ("masker=PartPriority", "masker.ratio=0.5"),
    "schedule": (*BOTH_ENDS, *NO_MOTION, "masker.first.ratio=0.3"),
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS.keys())
def test_a_run_under_this_mask_trains_is_measured_and_reported(tmp_path, mapped, recipes, words):
    run = tmp_path / "run"
    measured = ("evaluations.reconstruction=Reconstruction", "steps=3")
    assert pretrain(f"{recipes}:both", *words, *measured, "--on", mapped, "--out", run) == 0
    assert len(steps(run)) == 3
    (evaluation,) = [record for record in read_log(run / "log.jsonl") if record["kind"] == "evaluation"]
    assert np.isfinite(evaluation["metrics"]["r2"]["value"])
    assert main(["report", str(run), "--out", str(tmp_path / "report.html")]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("masker=Blend",), "has no motion maps; make them with `tubelet saliency "),
        (("masker=Schedule", "masker.first=Text"), "must be the same masker: name one class at both ends"),
        (
            ("masker=Adaptive", "masker.ratio=0.5", "objectives.pixels.weight=0"),
            "Adaptive learns from the loss of each token",
        ),
        (("masker=Adaptive", "masker.ratio=0.95"), "at least one and leave at least one of 8 tubelets of a clip"),
        (("decode=RunningCell", "decode.share=0"), "decode.share=0.0 must be above 0 and at most 1"),
    ],
)
def test_what_cannot_be_is_refused_at_the_door(tmp_path, mapped, recipes, words, said, capsys):
    assert pretrain(f"{recipes}:both", *words, "--on", mapped, "--out", tmp_path / "run") == 2
    line = capsys.readouterr().err.strip()
    assert said in line
    assert "\n" not in line
    assert not (tmp_path / "run").exists()
