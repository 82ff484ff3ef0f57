"""The corpus and the recipes that every run here is made of."""

from pathlib import Path

import pytest
import torch

from support.small_runs import RECIPE, make_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "small").folder


@pytest.fixture(scope="session")
def recipes(tmp_path_factory) -> Path:
    """A user's file with the recipes `pixels` and `both`."""
    path = tmp_path_factory.mktemp("recipes") / "mine.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in the same order here as in the processes that the tests start."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
