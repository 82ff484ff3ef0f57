"""Blocks that are computed again give the same gradients."""

import pytest
from torch.utils import checkpoint

from support.small_runs import assert_identical, pretrain


@pytest.mark.parametrize("recipe", ["both", "adaptive"])
def test_a_run_with_gradient_checkpointing_trains_bit_for_bit_what_one_without_trains(
    tmp_path, corpus, recipes, monkeypatch, recipe
):
    words, again = (f"{recipes}:{recipe}", "steps=4", "--on", corpus), []
    assert pretrain(*words, "--out", tmp_path / "plain") == 0
    whole = checkpoint.checkpoint
    monkeypatch.setattr(
        "tubelet.models.encoder.checkpoint", lambda *given, **options: (again.append(1), whole(*given, **options))[1]
    )
    assert pretrain(*words, "gradient_checkpointing=True", "--out", tmp_path / "again") == 0
    assert len(again) == 4 * 2  # each block of each step
    assert_identical(tmp_path / "plain", tmp_path / "again")
