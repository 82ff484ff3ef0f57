"""Of more than five classes the five best answers count too, as scikit-learn counts them."""

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

from tubelet.evaluations import Attentive, Context, Features, Knn, Linear
from tubelet.evaluations.classification import measure_scores
from tubelet.evaluations.features import Tokens


def clouds(count, classes, seed):
    rng = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % classes
    centres = torch.randn(classes, 12, generator=torch.Generator().manual_seed(9))
    mean = centres[label] + 1.2 * torch.randn(count, 12, generator=rng)
    tokens = Tokens(tuple(row.half().numpy() for row in mean.repeat(1, 2)), 12)
    return Features(
        mean=mean, temporal_concat=mean, label=label, ids=tuple(f"{seed} {i}" for i in range(count)),
        groups=tuple(f"{seed} group {i // classes}" for i in range(count)),
        classes=tuple(f"class {i}" for i in range(classes)), tokens=tokens,
    )  # fmt: skip


def test_it_is_that_of_sklearn():
    test = clouds(120, 8, 1)
    scores = torch.randn(120, 8, generator=torch.Generator().manual_seed(2)) + torch.nn.functional.one_hot(test.label)
    found, _ = measure_scores(scores, test, seed=0, samples=100)
    wanted = top_k_accuracy_score(test.label.numpy(), scores.numpy(), k=5)
    assert found["top5_accuracy"].value == pytest.approx(wanted)
    assert found["top5_accuracy"].chance == 5 / 8
    low, high = found["top5_accuracy"].interval
    assert low <= wanted <= high


def test_equal_scores_are_no_answer_and_five_classes_need_none():
    test = clouds(40, 8, 1)
    assert measure_scores(torch.zeros(40, 8), test, seed=0, samples=10)[0]["top5_accuracy"].value == 0
    five = clouds(40, 5, 1)
    assert "top5_accuracy" not in measure_scores(torch.zeros(40, 5), five, seed=0, samples=10)[0]


@pytest.mark.parametrize("evaluation", [Linear(), Knn(), Attentive(epochs=2), Linear(solver="sgd", epochs=5)])
def test_every_probe_of_many_classes_counts_it_beside_its_chance(evaluation, monkeypatch):
    parts = {"train": clouds(160, 8, 0), "test": clouds(80, 8, 1)}
    monkeypatch.setattr(Context, "features", lambda self, split: parts[split])
    monkeypatch.setattr(Context, "with_tokens", lambda self, split, indices=None: parts[split])
    monkeypatch.setattr(Context, "identity", {"name": "many", "fingerprint": "0"})
    context = Context.__new__(Context)
    vars(context).update(seed=0)
    result = evaluation.run(context)
    pool = evaluation.pools[0]
    metrics = result.metrics
    assert metrics[f"{pool}.accuracy"].value <= metrics[f"{pool}.top5_accuracy"].value <= 1
    assert metrics[f"{pool}.top5_accuracy"].chance == 5 / 8
    assert np.isfinite(result.metrics[f"{pool}.top5_accuracy"].interval).all()
