"""A figure that shows nothing says so in a sentence: in the terminal, in results.json and on the page."""

import random

import pytest
import torch
from test_what_selects import config, make

from tubelet import cli
from tubelet.evaluations.classification import said_of_classes
from tubelet.evaluations.features import Features
from tubelet.evaluations.folds import Fold
from tubelet.evaluations.verdicts import verdicts
from tubelet.results import RATIO, Metric, Result, read_results
from tubelet.runs.pretrain import pretrain


@pytest.fixture(scope="module")
def run(tmp_path_factory, clip):
    """One step of training, and labels that say nothing of the clips, twice as often no as yes."""
    folder = tmp_path_factory.mktemp("verdicts")
    corpus = make(folder / "corpus", [f"g{number}" for number in range(24)], count=36)
    pretrain(config(clip), on=corpus.folder, out=folder / "run")
    rng = random.Random(1)
    rows = [f"{video.id},{rng.choice(['no', 'no', 'yes'])}" for video in corpus.videos]
    (folder / "random.csv").write_text("\n".join(["video,label", *rows]))
    return folder / "run"


def test_a_run_that_learned_nothing_is_told_so_wherever_its_figures_stand(run, tmp_path, capsys):
    labels = str(run.parent / "random.csv")
    words = ["evaluate", str(run), "knn", "reconstruction", "--labels", labels, "--baseline", "mean_image"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    found = read_results(run)
    [entry] = [name for name in found if name.startswith("knn")]
    verdict = found[entry].verdict
    assert verdict.startswith(("this run does not help knn: ", "it is not shown that this run helps knn: "))
    assert "balanced accuracy" in verdict, "twice as often no as yes"
    assert "against chance 50.0, the mean image" in verdict
    told = [line for line in found[entry].notes if line.startswith("balanced accuracy (mean)")]
    assert len(told) == 1
    assert "does not differ significantly from chance" in told[0] or "points below chance" in told[0]
    copied = found[next(name for name in found if name.startswith("rec"))].notes
    assert any("the decoder explains nothing" in line or "copying" in line for line in copied)
    assert cli.main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert f"VERDICT: {verdict}" in said
    assert verdict.partition(" [")[0] in page
    for line in (*told, *copied):
        assert f"NOTE: {line}" in said
        assert line.partition(" [")[0].partition(" (")[0] in page


def accuracy(value, bounds, **others):
    baselines = {name: Result({"mean.accuracy": Metric(*level)}) for name, level in others.items()}
    metrics, counts = {"mean.accuracy": Metric(value, bounds, chance=0.2)}, {"test": {"used": 90, "groups": 90}}
    return verdicts(Result(metrics, counts=counts, baselines=baselines, evaluation="linear"))


def test_points_below_a_baseline_are_counted_and_the_best_baseline_is_named():
    pixels, untrained = (0.41, (0.36, 0.46)), (0.30, (0.25, 0.35))
    assert accuracy(0.21, (0.16, 0.26), mean_image=pixels, random=untrained) == [
        "accuracy (mean) 21.0 is 20.0 points below the mean-image baseline (41.0): this run learned nothing that "
        "linear finds"
    ]


def test_what_is_above_by_less_than_its_interval_is_not_called_better():
    [said] = accuracy(0.43, (0.35, 0.51), mean_image=(0.41, (0.36, 0.46)))
    assert said.startswith(
        "accuracy (mean) 43.0 [35.0, 51.0] does not differ significantly from the mean-image baseline (41.0)"
    )
    [said] = accuracy(0.12, (0.07, 0.22))
    assert "does not differ significantly from chance (20.0)" in said
    [said] = accuracy(0.12, (0.07, 0.17))
    assert "8.0 points below chance (20.0)" in said


def test_what_is_clearly_above_everything_needs_no_sentence():
    assert accuracy(0.8, (0.75, 0.85), mean_image=(0.41, (0.36, 0.46)), ceiling=(1.0, None)) == []


def test_a_decoder_is_measured_against_copying_and_against_the_mean():
    def reconstruction(r2, bounds, copy):
        references = {"copy_r2": Metric(copy, unit=RATIO)}
        return verdicts(Result({"r2": Metric(r2, bounds, unit=RATIO)}, references=references))

    assert reconstruction(0.5, (0.4, 0.6), 0.2) == []
    [said] = reconstruction(0.21, (0.18, 0.24), 0.3)
    assert said.startswith("copying the nearest visible patch explains more (R^2 0.300) than this decoder (0.210)")
    [said] = reconstruction(0.25, (0.18, 0.32), 0.2)
    assert "does not differ significantly from copying" in said
    assert "explains nothing" in reconstruction(-0.02, (-0.03, -0.01), -0.5)[0]


def test_one_recording_and_a_handful_are_said():
    few = Result({"j": Metric(0.9, (0.5, 1.0))}, counts={"test": {"used": 9, "groups": 3}})
    assert verdicts(few) == ["3 groups of test: the intervals are wide, for so few recordings say little"]
    [said] = verdicts(Result({"j": Metric(0.9)}, counts={"test": {"used": 9, "groups": 1}}))
    assert said.startswith("one group of test: nothing can be said")


def test_of_one_clip_no_verdict_is_given():
    said = verdicts(Result({"mean.accuracy": Metric(0.0, chance=0.5)}, counts={"test": {"used": 1, "groups": 1}}))
    assert [line.partition(":")[0] for line in said] == ["one group of test"]


def test_below_a_chance_that_nothing_can_exceed_says_nothing_of_the_run():
    metrics, counts = {"mean.accuracy": Metric(0.5, (0.3, 0.7), chance=1.0)}, {"test": {"used": 90, "groups": 90}}
    assert not verdicts(Result(metrics, counts=counts, evaluation="linear"))


def labelled(*labels):
    names, features = tuple(map(str, range(len(labels)))), torch.zeros(len(labels), 2)
    return Features(features, features, torch.tensor(labels), names, names, ("run", "sit", "fall"))


def test_classes_that_train_lacks_and_a_test_of_one_class_are_said():
    train = labelled(0, 0, 1)
    test = labelled(0, 2, 2)
    assert said_of_classes([Fold(train, test, torch.arange(3))]) == [
        "2 of 3 test clips are of classes that train lacks (fall): none of them can be right"
    ]
    assert said_of_classes([Fold(train, labelled(1, 1), torch.arange(2))]) == [
        "every test clip is sit: these figures do not show whether classes are told apart"
    ]
    assert not said_of_classes([Fold(train, labelled(0, 1), torch.arange(2))])
