"""Cross-validation by group and balanced accuracy, against scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations import Attentive, Context, Knn, Linear, LowLabel, Multiview
from tubelet.evaluations.features import Features, Tokens
from tubelet.evaluations.folds import folds_of
from tubelet.evaluations.selection import measure_of, score
from tubelet.loading.data import Data
from tubelet.results import Result
from tubelet.types import Clip

LOGO = "leave_one_group_out"
SHARES = (0.62, 0.15, 0.13, 0.10)  # as uneven as classes of real clips are


def clips(count: int = 120, groups: int = 9, apart: float = 1.5, seed: int = 0, shares=SHARES) -> Features:
    """Groups of several sizes, each a little apart from the others; `apart` is how far classes are."""
    rng = np.random.default_rng(seed)
    label = rng.choice(len(shares), count, p=shares)
    label[: len(shares)] = range(len(shares))
    group = rng.choice(groups, count, p=np.arange(1, groups + 1) / np.arange(1, groups + 1).sum())
    centres = np.random.default_rng(9).normal(size=(len(shares) + groups, 12))
    mean = rng.normal(size=(count, 12)) + apart * centres[label] + 0.5 * centres[len(shares) + group]
    values = torch.tensor(mean, dtype=torch.float32)
    return Features(
        mean=values, temporal_concat=values.repeat(1, 2), label=torch.tensor(label),
        ids=tuple(f"clip {i}" for i in range(count)), groups=tuple(f"camera {g}" for g in group),
        tokens=Tokens(tuple(values.repeat(1, 2).half().numpy()), 12),
    )  # fmt: skip


def evaluated(probe, features: Features, **splits: Features) -> Result:
    every = {"all": features, **splits}
    labels = {i: f"class {n}" for part in every.values() for i, n in zip(part.ids, part.label.tolist(), strict=True)}
    nowhere, clip = Corpus.__new__(Corpus), Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16)
    context = Context(torch.nn.Identity(), nowhere, clip, Data(), labels=labels, computed=every)
    return probe.run(context)


def predicted(result: Result, pool: str, features: Features) -> list[str]:
    return [result.details[pool]["predicted"][name] for name in features.ids]


def test_leaving_one_group_out_is_that_of_scikit_learn_fit_score_and_all():
    features = clips()
    result = evaluated(Linear(grid=(0.1,), cv=LOGO, pools=("mean",)), features)
    x, y, groups = features.mean.double().numpy(), features.label.numpy(), np.array(features.groups)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-10, max_iter=5000))
    answers = cross_val_predict(reference, x, y, groups=groups, cv=LeaveOneGroupOut())
    assert predicted(result, "mean", features) == [f"class {n}" for n in answers]
    assert result.metrics["mean.accuracy"].value == pytest.approx(accuracy_score(y, answers))
    assert result.metrics["mean.balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(y, answers))
    assert result.counts["all"]["groups"] == 9
    assert len(result.protocol["selected"]["mean"]) == 9
    assert "leave one group out, 9 folds" in result.protocol["split"]


def test_folds_of_whole_groups_are_those_of_scikit_learn_and_each_clip_is_tested_once():
    sizes = (41, 30, 22, 13, 8, 6)  # none twice: ties may be broken in another way
    features = replace(clips(), groups=tuple(f"camera {g}" for g in np.repeat(np.arange(6), sizes)))
    order = features.mean.numpy()
    theirs = {
        frozenset(test.tolist()) for _, test in GroupKFold(3).split(order, features.label, np.array(features.groups))
    }
    folds = folds_of(features, 3)
    assert {frozenset(fold.index.tolist()) for fold in folds} == theirs
    for fold in folds_of(features, LOGO) + folds:
        assert not set(fold.train.groups) & set(fold.test.groups)
        assert len(fold.train) + len(fold.test) == len(features)


@pytest.mark.parametrize("probe", [Linear, Knn, Attentive], ids=lambda cls: cls.name)
@pytest.mark.parametrize("cv", [LOGO, 3])
def test_every_probe_can_be_cross_validated_and_tells_classes_apart_that_are(probe, cv):
    quick = {"rates": (3e-3,), "epochs": 15, "batch": 16} if probe is Attentive else {}
    result = evaluated(probe(cv=cv, samples=50, **quick), clips(apart=6.0))
    for name, metric in result.metrics.items():
        assert metric.value >= 0.97, name
        low, high = metric.interval
        assert low <= metric.value <= high
    assert sum(map(len, result.details.values())) > 0


@pytest.mark.parametrize("probe", [Linear, Knn], ids=lambda cls: cls.name)
def test_noise_is_at_chance_although_each_fold_selects_its_own_setting(probe):
    values = [
        evaluated(probe(cv=LOGO, samples=50), clips(apart=0.0, seed=seed, shares=(0.5, 0.5)))
        .metrics["mean.balanced_accuracy"].value for seed in range(5)
    ]  # fmt: skip
    assert abs(np.mean(values) - 0.5) < 0.08


def test_labels_of_a_group_decide_nothing_about_its_own_answers():
    features = clips(apart=0.8)
    shuffled = features.label.clone()
    own = torch.tensor([group == "camera 7" for group in features.groups])
    shuffled[own] = shuffled[own].roll(1)
    one, other = (
        evaluated(Linear(cv=3, measure="accuracy"), some) for some in (features, replace(features, label=shuffled))
    )
    names = [name for name, there in zip(features.ids, own.tolist(), strict=True) if there]
    for pool in ("mean", "temporal_concat"):
        assert [one.details[pool]["predicted"][name] for name in names] == [
            other.details[pool]["predicted"][name] for name in names
        ]
    assert one.details != other.details


def test_what_is_right_of_each_group_adds_up_to_the_accuracy_and_to_the_recall_of_each_class():
    features = clips(apart=0.7)
    result = evaluated(Knn(cv=3), features)
    groups = result.details["mean"]["by_group"]
    assert set(groups) == set(features.groups)
    right = sum(hits for cells in groups.values() for hits, _ in cells.values())
    assert right / len(features) == pytest.approx(result.metrics["mean.accuracy"].value)
    for name, recall in result.details["mean"]["per_class"].items():
        cells = [cells[name] for cells in groups.values() if name in cells]
        assert sum(hits for hits, _ in cells) / sum(of for _, of in cells) == pytest.approx(recall)


def test_balanced_accuracy_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    for _ in range(20):
        label, answers = rng.choice(4, 50, p=SHARES), rng.integers(0, 4, 50)
        found = score(torch.tensor(answers), torch.tensor(label), "balanced_accuracy")
        assert found == pytest.approx(balanced_accuracy_score(label, answers))
        assert score(torch.tensor(answers), torch.tensor(label), "accuracy") == pytest.approx(
            accuracy_score(label, answers)
        )


def test_balanced_accuracy_selects_and_comes_first_where_classes_are_uneven_and_only_there():
    assert measure_of(torch.tensor([0] * 3 + [1] * 2), "auto") == "balanced_accuracy"
    assert measure_of(torch.tensor([0] * 7 + [1] * 5), "auto") == "accuracy"
    assert measure_of(torch.tensor([0] * 9 + [1]), "accuracy") == "accuracy"
    uneven = evaluated(Linear(cv=LOGO), clips())
    assert next(iter(uneven.metrics)) == "mean.balanced_accuracy"
    assert uneven.measure == "balanced_accuracy"
    assert "highest balanced accuracy" in uneven.protocol["selection"]
    assert any(note.startswith("classes are uneven") for note in uneven.notes)
    even = evaluated(Linear(cv=LOGO), clips(shares=(0.5, 0.5)))
    assert next(iter(even.metrics)) == "mean.accuracy"
    assert even.measure == "accuracy"
    assert not any("uneven" in note for note in even.notes)


def test_the_setting_that_only_finds_the_commonest_class_is_not_selected():
    """Far fewer neighbours are right about the rare class; more of them always answer with the commonest."""
    rng = np.random.default_rng(0)
    label = np.array(([0] * 20 + [1]) * 12)
    mean = torch.tensor(np.where(label[:, None] == 1, 3.0, -3.0) + rng.normal(size=(len(label), 2)) * 0.3)
    mean[:, 1] = torch.tensor(rng.normal(size=len(label)))
    group = tuple(f"camera {i // 21}" for i in range(len(label)))
    ids = tuple(map(str, range(len(label))))
    train = Features(mean.float(), mean.float(), torch.tensor(label), ids, group, ("common", "rare"))
    train = replace(train, mean=train.mean * torch.tensor([0.05, 1.0]))
    grid = (1, 150)
    held = Knn(grid=grid, centre=False, vote="majority").selecting(train, 0)
    for measure in ("accuracy", "balanced_accuracy"):
        _, scores = Knn(grid=grid, centre=False, vote="majority", measure=measure).select(train, held, "mean")
        assert scores[150] == pytest.approx(20 / 21 if measure == "accuracy" else 0.5, abs=1e-6)


def test_test_labels_do_not_decide_by_which_measure_is_selected():
    train, test = clips(shares=(0.5, 0.5)), clips(seed=1, shares=(0.9, 0.1))
    test = replace(test, ids=tuple(f"test {name}" for name in test.ids))
    assert evaluated(Linear(samples=50), train, train=train, test=test).measure == "accuracy"


def test_one_group_and_more_folds_than_groups_are_refused_with_what_to_do():
    alone = replace(clips(), groups=("anna",) * 120)
    with pytest.raises(CorpusError, match=r"needs labelled clips of two groups, and there is one \(anna, 120 clips\)"):
        evaluated(Linear(cv=LOGO), alone)
    with pytest.raises(CorpusError, match="there are 9 groups and cv=10 folds; take fewer, or cv=leave_one_group_out"):
        evaluated(Linear(cv=10), clips())
    with pytest.raises(RecipeError, match=r"linear.cv=1 must be at least 2 folds"):
        Linear(cv=1)
    with pytest.raises(RecipeError, match="it takes no cv"):
        LowLabel(cv=3)
    with pytest.raises(RecipeError, match=r"it takes no linear.cv"):
        Multiview(linear=Linear(cv=3))


def test_of_two_groups_one_is_left_to_fit_so_the_setting_must_be_given():
    two = clips(groups=2)
    with pytest.raises(CorpusError, match=r"linear.grid=0.0001"):
        evaluated(Linear(cv=LOGO), two)
    assert evaluated(Linear(cv=LOGO, grid=(0.1,)), two).protocol["selection"].startswith("none")


def test_chance_is_always_answering_the_commonest_class_of_the_other_groups():
    features = clips()
    always = cross_val_predict(
        DummyClassifier(strategy="most_frequent"), features.mean, features.label, groups=features.groups,
        cv=LeaveOneGroupOut(),
    )  # fmt: skip
    metrics = evaluated(Linear(cv=LOGO, grid=(0.1,)), features).metrics
    assert metrics["mean.accuracy"].chance == pytest.approx(accuracy_score(features.label, always))
    assert metrics["mean.balanced_accuracy"].chance == pytest.approx(balanced_accuracy_score(features.label, always))
