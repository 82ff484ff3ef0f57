"""kNN against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from tubelet.evaluations import Features, Knn, knn
from tubelet.evaluations.knn import TEMPERATURE, nearest_class

WEIGHTS = {"majority": "uniform", "softmax": lambda distance: np.exp(-distance / TEMPERATURE)}


@pytest.mark.parametrize("vote", ["majority", "softmax"])
@pytest.mark.parametrize("k", [1, 4, 25])
def test_the_vote_is_that_of_sklearn(vote, k):
    rng = torch.Generator().manual_seed(k)
    bank, queries = (torch.randn(n, 6, generator=rng, dtype=torch.float64) for n in (120, 80))
    label = torch.randint(0, 4, (120,), generator=rng)
    reference = KNeighborsClassifier(k, weights=WEIGHTS[vote], metric="cosine", algorithm="brute").fit(bank, label)
    assert nearest_class(bank, label, queries, 4, k, vote).tolist() == reference.predict(queries).tolist()


def test_queries_asked_in_parts_have_the_neighbours_of_all_at_once(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    bank, queries = (torch.randn(count, 3, generator=rng, dtype=torch.float64) for count in (40, 25))
    cosines, indices = knn.neighbours(bank, queries, 7)
    monkeypatch.setattr(knn, "CELLS", 120)
    again, same = knn.neighbours(bank, queries, 7)
    assert torch.equal(indices, same)
    torch.testing.assert_close(again, cosines)


def test_the_probe_itself_answers_as_sklearn_does_on_features_less_their_mean():
    rng = torch.Generator().manual_seed(0)
    mean, asked = torch.randn(90, 5, generator=rng) + 2.0, torch.randn(40, 5, generator=rng) + 2.0
    label = torch.randint(0, 3, (90,), generator=rng)
    train, test = (
        Features(x, x, y, tuple(map(str, range(len(x)))), tuple(map(str, range(len(x)))), tuple("abc"))
        for x, y in ((mean, label), (asked, torch.zeros(40).long()))
    )
    shift = mean.double().mean(0)
    for k, predicted in zip((25, 3, 1), Knn().predict(train, test, "mean", [25, 3, 1]), strict=True):
        reference = KNeighborsClassifier(k, weights=WEIGHTS["softmax"], metric="cosine", algorithm="brute")
        reference.fit(mean.double() - shift, label)
        assert predicted.tolist() == reference.predict(asked.double() - shift).tolist()
