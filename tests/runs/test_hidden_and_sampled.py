"""Recipes that choose what is hidden, or sample what is predicted, from the public face to the log."""

from pathlib import Path

import numpy as np
import pytest

import tubelet
from support.small_runs import make_corpus
from tubelet.log import read_log
from tubelet.recipes import RECIPES
from tubelet.stores.maps import MapsWriter

CLIP = ("clip.size=32", "clip.tubelet_size=8", "data.sampling.stride=1", "data.cache=False")
SMALL = (*CLIP, "encoder.width=32", "encoder.depth=1", "encoder.heads=2", "batch=4", "steps=20", "log_every=1")
NAMES = ("semmae", "automae", "marlin", "videomae_v2", "internvideo", "diffmae", "siam_mcvae", "cpc")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With maps of objects and of parts, of random numbers."""
    made = make_corpus(tmp_path_factory.mktemp("methods") / "small")
    rng = np.random.default_rng(0)
    for name, kind, parts in (("oracle", "scalar", 0), ("parts", "parts", 5)):
        with MapsWriter(made, name, kind, {"reading": "random numbers"}, parts) as maps:
            for video in made.select("all"):
                values = rng.dirichlet(np.ones(5), (2, 3, 3))
                maps.add(video, "", values if parts else values[..., 0], np.array([0.0, 0.5]))
            maps.finish()
    return made.folder


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains_and_logs_its_loss_beside_its_baseline(name: str, corpus: Path, tmp_path: Path) -> None:
    later = ("streams.later.masker.ratio=0.75", "streams.later.pairing.least=0.1", "streams.later.pairing.most=0.3")
    own = later if name == "siam_mcvae" else ("clip.frames=4",)
    tubelet.pretrain(name, *SMALL, *own, on=corpus, out=tmp_path / "run")
    logged = [record for record in read_log(tmp_path / "run" / "log.jsonl") if record["kind"] == "step"]
    assert len(logged) == 20
    recipe = {one.__name__: one for one in RECIPES}[name]()
    for objective in recipe.objectives:
        values = [record[objective] for record in logged if objective in record]
        assert len(values) == (10 if name == "internvideo" else 20)
        assert np.isfinite(values).all()
        assert all(np.isfinite(record[f"{objective}.baseline"]) for record in logged if objective in record)
