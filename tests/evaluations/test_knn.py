"""kNN against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from tubelet.evaluations.knn import TEMPERATURE, nearest

WEIGHTS = {"majority": "uniform", "softmax": lambda distance: np.exp(-distance / TEMPERATURE)}


@pytest.mark.parametrize("vote", ["majority", "softmax"])
@pytest.mark.parametrize("k", [1, 4, 25])
def test_the_vote_is_that_of_sklearn(vote, k):
    rng = torch.Generator().manual_seed(k)
    bank, queries = (torch.randn(n, 6, generator=rng, dtype=torch.float64) for n in (120, 80))
    label = torch.randint(0, 4, (120,), generator=rng)
    reference = KNeighborsClassifier(k, weights=WEIGHTS[vote], metric="cosine", algorithm="brute").fit(bank, label)
    assert nearest(bank, label, queries, 4, k, vote).tolist() == reference.predict(queries).tolist()
