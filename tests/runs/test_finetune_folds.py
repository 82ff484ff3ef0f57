"""Fine-tuning cross-validated by group: every clip is tested once, by weights that saw nothing of its group."""

import json

import numpy as np
import pytest

from tubelet.corpus.write import write_corpus
from tubelet.errors import CorpusError
from tubelet.loading.data import Data
from tubelet.maskers import Tube
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Pixels
from tubelet.recipes import Pretrain
from tubelet.results import read_results
from tubelet.runs import folds
from tubelet.runs.finetune import finetune
from tubelet.runs.pretrain import pretrain
from tubelet.types import Clip
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

WORDS = ("tiny", "steps=3", "batch=4", "samples=20", "data.cache=False", "optim.base_lr=0.05", "evaluate_every=3")
CLIP = Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16)
LOGO = "cv=leave_one_group_out"
ENTRY = "finetune as leave_one_group_out"


def make(folder, count=12, groups=4, light=2):
    """Every `light`-th clip is light, the others dark; the last group is the test split."""
    folder.mkdir()
    rows = []
    for number in range(count):
        kind = int(number % light == light - 1)
        frames = np.random.default_rng(number).integers(0, 90, (4, 32, 32, 3)).astype(np.uint8)
        write_video(folder / f"{number}.mp4", frames + np.uint8(150 * kind), 8.0)
        group = number // light % groups
        rows.append(
            {"id": f"clip {number}", "path": folder / f"{number}.mp4", "end": 0.5, "fps": 8.0, "frames": 4,
             "width": 32, "height": 32, "label": ("dark", "light")[kind],
             "split": "test" if group == groups - 1 else "train", "group": f"camera {group}"}
        )  # fmt: skip
    return write_corpus(folder, "small", rows).folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make(tmp_path_factory.mktemp("corpus") / "small")


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    recipe = Pretrain(
        precision="fp32",
        clip=CLIP, data=Data(sampling=Sampling(stride=1)), encoder=Vit(width=32, depth=1, heads=2),
        masker=Tube(ratio=0.5), objectives={"pixels": Pixels(decoder=Decoder(width=16, depth=1, heads=2))},
        steps=1, batch=2,
    )  # fmt: skip
    pretrain(recipe, on=corpus, out=folder)
    return folder


def test_every_clip_is_tested_once_by_weights_that_saw_nothing_of_its_group_and_the_classifier_stays(
    run, corpus, tmp_path
):
    out = tmp_path / "tuned"
    finetune(run, *WORDS, LOGO, on=corpus, out=out)
    found = read_results(out)
    assert set(found) == {"finetune", ENTRY}
    pooled = found[ENTRY]
    assert len(pooled.details["all weights"]["predicted"]) == 12
    assert pooled.counts["all"] == {"used": 12, "failed": 0, "groups": 4}
    assert len(pooled.protocol["selected"]) == 4
    assert sum(of for group in pooled.details["all weights"]["by_group"].values() for _, of in group.values()) == 12
    for number in range(1, 5):
        alone = read_results(out / "folds" / str(number))["finetune"]
        tested = alone.details["all weights"]["predicted"]
        assert tested.items() <= pooled.details["all weights"]["predicted"].items()
        assert len({int(name.split()[1]) // 2 % 4 for name in tested}) == 1, "one camera"
        assert not list((out / "folds" / str(number)).rglob("*.safetensors"))
    assert (out / "classifier.safetensors").exists()
    assert found["finetune"].counts["test"]["groups"] == 1


def test_interrupted_between_folds_it_goes_on_and_comes_to_the_same(run, corpus, tmp_path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    finetune(run, *WORDS, "cv=2", on=corpus, out=whole)
    measure, begun = folds.tune_and_measure, []

    def once(fold):
        begun.append(fold.root.name)
        return len(begun) < 2 and measure(fold)

    monkeypatch.setattr(folds, "tune_and_measure", once)
    assert not finetune(run, *WORDS, "cv=2", on=corpus, out=stopped).finished
    monkeypatch.setattr(folds, "tune_and_measure", lambda fold: begun.append(fold.root.name) or measure(fold))
    assert finetune(run, *WORDS, "cv=2", on=corpus, out=stopped).finished
    assert begun == ["1", "2", "2"]
    assert read_results(stopped)["finetune as 2"] == read_results(whole)["finetune as 2"]


def test_where_classes_are_uneven_balanced_accuracy_selects_and_comes_first(run, tmp_path):
    corpus = make(tmp_path / "uneven", count=24, light=4)
    finetune(run, *WORDS, on=corpus, out=tmp_path / "tuned")
    result = read_results(tmp_path / "tuned")["finetune"]
    assert result.measure == "balanced_accuracy"
    assert "highest balanced accuracy" in result.protocol["selection"]
    assert [name for name in result.metrics if "accuracy" in name][:2] == [
        "held_out.balanced_accuracy",
        "balanced_accuracy",
    ]
    [log] = (tmp_path / "tuned").glob("rate-*/log.jsonl")
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert all("balanced_accuracy" in one["metrics"] for one in logged if one["kind"] == "evaluation")


def test_more_folds_than_groups_are_refused_before_anything_is_trained(run, corpus, tmp_path):
    with pytest.raises(CorpusError, match="there are 4 groups and cv=5 folds"):
        finetune(run, *WORDS, "cv=5", on=corpus, out=tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()
