"""The linear probe against scikit-learn, and what it may not look at."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import cross_entropy, layer_norm

from tubelet.errors import RecipeError
from tubelet.evaluations import Features, Linear
from tubelet.evaluations.classification import measure_predictions
from tubelet.evaluations.intervals import bootstrap_weights
from tubelet.evaluations.linear import Problem
from tubelet.evaluations.selection import hold_out
from tubelet.seeds import generator


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
        temporal_concat=torch.cat([mean, torch.randn(count, width, generator=rng)], 1),
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


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_other_normalisations_are_those_of_their_names(norm):
    train, test = clouds(60, 5, 3, 0.5), clouds(200, 5, 3, 0.5, seed=1)
    plain = {"none": lambda x: x.double().numpy(), "layer": lambda x: layer_norm(x.double(), (5,)).numpy()}[norm]
    reference = LogisticRegression(C=0.3, tol=1e-10, max_iter=100_000).fit(plain(train.mean), train.label)
    [head] = Linear(norm=norm, grid=(0.3,)).fit(train, "mean", [0.3])
    assert head.scores(test.mean).argmax(1).tolist() == reference.predict(plain(test.mean)).tolist()
    theirs = reference.decision_function(plain(test.mean))
    ours = head.scores(test.mean).numpy()
    np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True), atol=2e-4)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_sgd_is_that_of_torch_with_a_cosine(norm):
    train = clouds(64, 5, 3, 0.5)
    rates = [0.1, 0.5]
    heads = Linear(solver="sgd", norm=norm, epochs=3, batch=16, order=4).fit(train, "mean", rates)
    mean, deviation = train.mean.mean(0), train.mean.std(0, unbiased=False)
    x = (train.mean - mean) / deviation if norm == "batch" else layer_norm(train.mean, (5,))
    for rate, ours in zip(rates, heads, strict=True):
        head = torch.nn.Linear(5, 3)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        solver = torch.optim.SGD(head.parameters(), lr=rate * 16 / 256, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(solver, T_max=12)
        draws = generator(4, "sgd probe")
        for _ in range(3):
            for some in torch.from_numpy(draws.permutation(64)).split(16):
                solver.zero_grad()
                cross_entropy(head(x[some]), train.label[some]).backward()
                solver.step()
                schedule.step()
        torch.testing.assert_close(ours.scores(train.mean).float(), head(x).detach(), rtol=0, atol=1e-4)


def test_sgd_finds_what_lbfgs_finds_where_the_classes_are_apart():
    train, test = clouds(200, 5, 3, 3.0), clouds(200, 5, 3, 3.0, seed=1)
    [one] = Linear(solver="sgd").fit(train, "mean", [1.0])
    [other] = Linear().fit(train, "mean", [1.0])
    assert (one.scores(test.mean).argmax(1) == other.scores(test.mean).argmax(1)).float().mean() > 0.97
    assert Linear(solver="sgd").settings(200)[0] < Linear(solver="sgd").settings(200)[-1] == 3.0
    assert Linear(solver="sgd").about()["ties"] == "the smaller rate"


def test_a_feature_that_never_changes_does_no_harm():
    train = clouds(40, 3, 2, 2.0)
    constant = torch.full((40, 1), 3.3)
    head = Problem(torch.cat([train.mean, constant], 1), train.label, 2).solve(1.0)
    alone = Problem(train.mean, train.label, 2).solve(1.0)
    torch.testing.assert_close(head.scores(torch.cat([train.mean, constant], 1)), alone.scores(train.mean))


def test_the_numbers_are_those_of_sklearn():
    test = clouds(90, 4, 3, 1.0)
    predicted = torch.randint(0, 3, (90,), generator=torch.Generator().manual_seed(3))
    measured, details = measure_predictions(predicted, test, seed=0, samples=200)
    assert measured["accuracy"].value == pytest.approx((predicted == test.label).float().mean().item())
    assert measured["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(test.label, predicted))
    assert details["confusion"] == confusion_matrix(test.label, predicted).tolist()


def test_intervals_resample_whole_groups():
    test = clouds(120, 4, 2, 1.0, groups=12)
    wrong = torch.tensor([g in ("group-0-0", "group-0-1") for g in test.groups])
    predicted = torch.where(wrong, 1 - test.label, test.label)
    low, high = measure_predictions(predicted, test, seed=0, samples=4000)[0]["accuracy"].interval
    rng = np.random.default_rng(0)
    right = np.array([0, 0] + [1] * 10)
    reference = np.percentile([right[rng.integers(0, 12, 12)].mean() for _ in range(4000)], [2.5, 97.5])
    assert [low, high] == pytest.approx(list(reference), abs=0.03)
    assert high - low > 0.35  # 120 independent clips would give about .13


def test_the_intervals_of_hundreds_of_classes_and_thousands_of_groups_are_those_of_a_loop():
    """A confusion matrix a group would take 15 gigabytes here."""
    test = clouds(4200, 2, 700, 1.0, groups=4000)
    rng = np.random.default_rng(1)
    predicted = torch.where(torch.from_numpy(rng.random(4200) < 0.7), test.label, 0)
    intervals, _ = measure_predictions(predicted, test, seed=0, samples=100)
    draws = bootstrap_weights(4000, seed=0, samples=100)
    names = sorted(set(test.groups))
    index, hit = np.searchsorted(names, test.groups), (predicted == test.label).numpy()
    accuracy, balanced = [], []
    for times in draws:
        often = times[index]
        accuracy.append((often * hit).sum() / often.sum())
        every = np.bincount(test.label, often, 700)
        balanced.append(np.mean((np.bincount(test.label, often * hit, 700) / np.maximum(every, 1))[every > 0]))
    assert intervals["accuracy"].interval == pytest.approx(list(np.percentile(accuracy, [2.5, 97.5])))
    assert intervals["balanced_accuracy"].interval == pytest.approx(list(np.percentile(balanced, [2.5, 97.5])))


def test_one_group_gives_no_interval():
    test = clouds(10, 2, 2, 1.0)
    alone = replace(test, groups=("one",) * 10)
    metrics, _ = measure_predictions(test.label, alone, seed=0, samples=10)
    assert {one.interval for one in metrics.values()} == {None}


def test_the_balanced_accuracy_of_one_answer_for_all_has_no_interval():
    test = clouds(120, 4, 2, 1.0, groups=12)
    metrics, _ = measure_predictions(torch.zeros_like(test.label), test, seed=0, samples=100)
    assert metrics["balanced_accuracy"].interval is None
    assert metrics["accuracy"].interval is not None


@pytest.mark.parametrize("wrong", [{"grid": (1.0, -1.0)}, {"grid": ()}, {"epochs": 0}, {"batch": 0}, {"samples": 0}])
def test_numbers_that_nothing_can_be_fitted_with_are_refused(wrong):
    with pytest.raises(RecipeError, match=rf"linear.{next(iter(wrong))}=.* must be above 0"):
        Linear(**wrong)


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
