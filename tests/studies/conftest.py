"""A corpus of eight short videos, a study of a user's own on it, and a recorder of what the command line says."""

from pathlib import Path

import pytest

from support.small_runs import RECIPE, make_corpus

STUDY = (
    RECIPE
    + '''

import chz

from tubelet.studies import Measure, Study, Variant

MEASURES = (
    Measure("R²", "reconstruction", "r2"),
    Measure("verb", "linear", "temporal_concat.accuracy", settings=("linear.grid=0.01", "linear.samples=10")),
    Measure("shape", "linear", "mean.accuracy", "shape"),
    Measure("pixels / mean prediction", "log", "pixels"),
)


def small():
    """Two masks."""
    return Study(
        question="Which of two?",
        variants={
            "tube": Variant(),
            "half random": Variant("masker=Random masker.ratio=0.5"),
            "no maps": Variant("masker=Motion"),
        },
        differences=(("half random", "tube"),),
        recipe=f"{__file__}:pixels",
        seeds=2,
        measures=MEASURES,
        curves=("pixels", "lr"),
    )


def partly():
    """One mask, and a measure that a run without captions does not allow."""
    measures = (MEASURES[0], Measure("named", "zero_shot", "accuracy"))
    return Study("What is left?", {"tube": Variant()}, recipe=f"{__file__}:pixels", seeds=1, measures=measures)


def wider():
    """The same with a wider encoder."""
    return chz.replace(pixels(), encoder=Vit(width=48, depth=1, heads=2))


def taught():
    """A run that starts from one which is trained before."""
    before = f"pretrain {__file__}:pixels --on {{corpus}} --out {{run}}-before steps=1 seed={{seed}}"
    return Study(
        question="What is a start worth?",
        variants={"started": Variant("init={run}-before steps=1", first=(before,))},
        recipe=f"{__file__}:pixels",
        seeds=1,
        measures=MEASURES[:1],
    )


def tuned():
    """The whole encoder fine-tuned, pretrained and from scratch."""
    tune = "finetune {run} tiny --on {corpus} --out {run}-tuned seed={seed} steps=2 rates=0.01 batch=2 held_out=0.5"
    return Study(
        question="What is it worth?",
        variants={"tube": Variant(then=(tune,)), "scratch": Variant("steps=1", then=(f"{tune} --scratch",))},
        differences=(("tube", "scratch"),),
        recipe=f"{__file__}:pixels",
        seeds=1,
        measures=(Measure("fine-tuned", "finetune", "accuracy"), MEASURES[0]),
    )


def costs():
    """The same masks at equal tokens and at equal FLOPs."""
    dense = "masker=Tube masker.ratio=0.25"
    return Study(
        question="At what cost?",
        variants={
            "sparse": Variant("masker=Tube masker.ratio=0.75"),
            "tokens": Variant(dense, equal="tokens"),
            "flops": Variant(dense, equal="flops"),
            "steps": Variant(dense),
        },
        reference="sparse",
        recipe=f"{__file__}:pixels",
        measures=MEASURES[:1],
    )
'''
)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("small") / "corpus")


@pytest.fixture(scope="session")
def mine(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("study") / "mine.py"
    path.write_text(STUDY)
    return path
