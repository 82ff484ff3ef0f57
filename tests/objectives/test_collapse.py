"""The alarm: figures against NumPy, and what they are of clips that are all one."""

import numpy as np
import pytest
import torch

from support.views import views_of
from tubelet.objectives.collapse import LEAST_RANK, LEAST_STD, collapsed, spread_of
from tubelet.objectives.gather import Ranks


def spread(tokens):
    found = spread_of(tokens, Ranks(len(tokens), tokens.device), "x")
    return found["x.rank"].item(), found["x.std"].item()


def test_rank_and_deviation_are_those_of_a_plain_formula():
    tokens = views_of(count=7).tokens.detach()
    rows = tokens.mean(1).numpy().astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    shares = np.linalg.svd(rows, compute_uv=False)
    shares /= shares.sum()
    rank, std = spread(tokens)
    assert rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
    assert std == pytest.approx(rows.std(0).mean() * np.sqrt(rows.shape[1]), rel=1e-5)


def test_of_clips_that_are_all_one_the_rank_is_1_and_the_deviation_0():
    tokens = views_of(count=1).tokens.detach().expand(6, -1, -1)
    rank, std = spread(tokens)
    assert rank == pytest.approx(1, abs=1e-3)
    assert std == pytest.approx(0, abs=1e-5)
    assert rank < LEAST_RANK
    assert std < LEAST_STD


def test_of_clips_that_point_everywhere_the_rank_is_near_the_width_and_the_deviation_near_1():
    tokens = torch.randn(256, 1, 16, generator=torch.Generator().manual_seed(0))
    rank, std = spread(tokens)
    assert 15 < rank <= 16
    assert std == pytest.approx(1, abs=0.05)


def test_a_clip_alone_is_no_collapse_of_anything():
    assert spread(views_of(count=1).tokens.detach())[0] == pytest.approx(1)


def test_a_record_names_each_objective_that_collapsed_once_and_no_other():
    record = {"loss": 1.0, "a": 1.0, "a.rank": 1.0, "a.std": 0.5, "b.rank": 9.0, "b.std": 0.001, "c.rank": 9.0}
    record |= {"c.std": 0.5, "d.rank": 1.0}
    told = collapsed(record)
    assert [*told] == ["a", "b"]
    assert "objectives.b: the encoder says nearly the same of every clip (effective rank 9.00" in told["b"]
