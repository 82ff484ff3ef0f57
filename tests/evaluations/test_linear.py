"""The linear probe against scikit-learn, and what it may not look at."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from sklearn.preprocessing import StandardScaler

from tubelet.evaluations import Features, Linear
from tubelet.evaluations.classification import hold_out, measure
from tubelet.evaluations.linear import Problem


def clouds(count: int, width: int, classes: int, apart: float, seed: int = 0, groups: int | None = None) -> Features:
    """Gaussian clouds, `apart` from each other; `groups` groups of clips, each of one class."""
    rng = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(7))
    groups = groups or count
    group = torch.arange(count) % groups
    label = group % classes
    mean = torch.randn(count, width, generator=rng) + apart * centres[label]
    return Features(
        mean=mean,
        slots=torch.cat([mean, torch.randn(count, width, generator=rng)], 1),
        ids=tuple(f"clip-{seed}-{i}" for i in range(count)),
        groups=tuple(f"group-{seed}-{g}" for g in group.tolist()),
        label=label,
        classes=tuple(f"class-{c}" for c in range(classes)),
    )


@pytest.mark.parametrize(("count", "width"), [(60, 5), (40, 90)], ids=["tall", "wide"])
@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_the_head_is_the_minimum_that_sklearn_finds(count, width, strength):
    train, test = clouds(count, width, 3, 0.5), clouds(200, width, 3, 0.5, seed=1)
    scaler = StandardScaler().fit(train.mean.double())
    reference = LogisticRegression(C=strength, tol=1e-10, max_iter=100_000)
    reference.fit(scaler.transform(train.mean.double()), train.label)
    problem = Problem(train.mean, train.label, 3)
    problem.solve(strength * 10)  # where it starts from does not matter
    head = problem.solve(strength)
    ours = head.scores(test.mean)
    theirs = torch.tensor(reference.decision_function(scaler.transform(test.mean.double())))
    torch.testing.assert_close(
        ours - ours.mean(1, keepdim=True), theirs - theirs.mean(1, keepdim=True), rtol=0, atol=2e-4
    )
    assert torch.equal(
        head.scores(test.mean).argmax(1), torch.tensor(reference.predict(scaler.transform(test.mean.double())))
    )


def test_a_feature_that_never_changes_does_no_harm():
    train = clouds(40, 3, 2, 2.0)
    constant = torch.full((40, 1), 3.3)
    head = Problem(torch.cat([train.mean, constant], 1), train.label, 2).solve(1.0)
    alone = Problem(train.mean, train.label, 2).solve(1.0)
    torch.testing.assert_close(head.scores(torch.cat([train.mean, constant], 1)), alone.scores(train.mean))


def test_the_numbers_are_those_of_sklearn():
    test = clouds(90, 4, 3, 1.0)
    predicted = torch.randint(0, 3, (90,), generator=torch.Generator().manual_seed(3))
    measured = measure(predicted, test, seed=0, samples=200)
    assert measured["metrics"]["accuracy"] == pytest.approx((predicted == test.label).float().mean().item())
    assert measured["metrics"]["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(test.label, predicted))
    assert measured["confusion"] == confusion_matrix(test.label, predicted).tolist()


def test_intervals_resample_whole_groups():
    test = clouds(120, 4, 2, 1.0, groups=6)
    wrong = torch.tensor([g in ("group-0-0", "group-0-1") for g in test.groups])
    predicted = torch.where(wrong, 1 - test.label, test.label)
    low, high = measure(predicted, test, seed=0, samples=4000)["intervals"]["accuracy"]
    rng = np.random.default_rng(0)
    right = np.array([0, 0, 1, 1, 1, 1])
    reference = np.percentile([right[rng.integers(0, 6, 6)].mean() for _ in range(4000)], [2.5, 97.5])
    assert [low, high] == pytest.approx(list(reference), abs=0.03)
    assert high - low > 0.5  # 120 independent clips would give about .17


def test_one_group_gives_no_interval():
    test = clouds(10, 2, 2, 1.0)
    alone = replace(test, groups=("one",) * 10)
    assert measure(test.label, alone, seed=0, samples=10)["intervals"] == {}


def test_held_out_groups_are_whole_of_every_label_and_do_not_move_when_clips_are_added():
    train = clouds(240, 2, 4, 1.0, groups=48)
    held = hold_out(train, 0.25, seed=0)
    inside = {g for g, h in zip(train.groups, held.tolist(), strict=True) if h}
    outside = {g for g, h in zip(train.groups, held.tolist(), strict=True) if not h}
    assert not inside & outside
    assert torch.equal(train.label[held].unique(), torch.arange(4))
    assert held.sum() == 60
    order = torch.randperm(240, generator=torch.Generator().manual_seed(1))
    assert torch.equal(hold_out(train.rows(order), 0.25, seed=0), held[order])
    assert not torch.equal(hold_out(train, 0.25, seed=1), held)


def test_selection_takes_the_stronger_regularisation_among_equals():
    train = clouds(80, 6, 2, 6.0)
    linear = Linear(grid=(1.0, 1e-2, 1e-1))
    strength, scores = linear.select(train, hold_out(train, 0.25, 0), "mean")
    assert set(scores.values()) == {1.0}
    assert strength == 1e-2
