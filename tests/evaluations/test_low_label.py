"""Low-label curves: whole groups, nested, keyed; selection sees no label outside its share."""

from dataclasses import replace

import pytest
import torch

from tubelet.errors import RecipeError
from tubelet.evaluations import Context, Features, LowLabel
from tubelet.evaluations.low_label import share_of_groups

QUICK = LowLabel(shares=(0.05, 1.0), draws=2, pools=("mean",), grid=(0.01, 1.0), samples=50)


def made_up(split: str, count: int, apart: float = 1.5, seed: int = 0) -> Features:
    """Four classes in groups of two."""
    rng = torch.Generator().manual_seed(2 * seed + (split == "test"))
    centres = torch.randn(4, 8, generator=torch.Generator().manual_seed(9))
    label = torch.arange(count) // 2 % 4
    mean = torch.randn(count, 8, generator=rng) + apart * centres[label]
    return Features(
        mean=mean, temporal_concat=mean, label=label, ids=tuple(f"{split}-{i}" for i in range(count)),
        groups=tuple(f"{split}-{i // 2}" for i in range(count)), classes=tuple("abcd"),
    )  # fmt: skip


def run(settings: LowLabel, train: Features, test: Features, small, clip, data) -> dict:
    labels = {i: "abcd"[n] for part in (train, test) for i, n in zip(part.ids, part.label.tolist(), strict=True)}
    computed = {"train": train, "test": test}
    return settings.run(Context(torch.nn.Identity(), small, clip, data, labels=labels, computed=computed))


def test_a_share_takes_whole_groups_of_every_label_and_lies_within_the_larger_share():
    train = made_up("train", 200)
    before = None
    for share, groups in ((0.001, 1), (0.04, 1), (0.1, 3), (0.2, 5), (1.0, 25)):
        taken = share_of_groups(train, share, draw=0)
        part = train.rows(taken)
        assert torch.bincount(part.label).tolist() == [2 * groups] * 4
        assert all(part.groups.count(group) == 2 for group in part.groups)
        assert before is None or bool(taken[before].all())
        before = taken
    assert not torch.equal(share_of_groups(train, 0.1, 0), share_of_groups(train, 0.1, 1))


def test_the_curve_rises_and_says_how_many_labels_stand_behind_it(small, clip, data):
    result = run(QUICK, made_up("train", 160, 0.5), made_up("test", 120, 0.5), small, clip, data)
    assert result.metrics["5%.mean.accuracy"].value < result.metrics["100%.mean.accuracy"].value
    assert result.counts["labels"] == {"5%": [8, 8], "100%": [160]}
    assert set(result.protocol["spread"]) == {"5%.mean"}
    low, high = result.metrics["5%.mean.accuracy"].interval
    assert low < result.metrics["5%.mean.accuracy"].value < high


def test_a_label_outside_the_share_changes_nothing(small, clip, data):
    train, test = made_up("train", 160), made_up("test", 80)
    outside = ~(share_of_groups(train, 0.05, 0) | share_of_groups(train, 0.05, 1))
    label = train.label.clone()
    label[outside] = label[outside].flip(0)
    some = LowLabel(shares=(0.05,), draws=2, pools=("mean",), grid=(0.01, 1.0), samples=50)
    one = run(some, train, test, small, clip, data)
    # the groups of each label move with their labels, so the choice is held to what it was
    from tubelet.evaluations import low_label

    kept = {draw: share_of_groups(train, 0.05, draw) for draw in range(2)}
    original = low_label.share_of_groups
    low_label.share_of_groups = lambda _, share, draw: kept[draw]
    try:
        other = run(some, replace(train, label=label), test, small, clip, data)
    finally:
        low_label.share_of_groups = original
    assert other.metrics["5%.mean.accuracy"].value == one.metrics["5%.mean.accuracy"].value
    assert other.protocol["selected"] == one.protocol["selected"]


def test_all_labels_are_the_linear_probe(small, clip, data):
    from tubelet.evaluations import Linear

    train, test = made_up("train", 160, apart=0.8), made_up("test", 120, apart=0.8)
    labels = {i: "abcd"[n] for part in (train, test) for i, n in zip(part.ids, part.label.tolist(), strict=True)}
    computed = {"train": train, "test": test}
    context = Context(torch.nn.Identity(), small, clip, data, labels=labels, computed=computed)
    probe = Linear(pools=("mean",), samples=50).run(context)
    curve = LowLabel(shares=(1.0,), pools=("mean",), samples=50).run(context)
    assert curve.metrics["100%.mean.accuracy"].value == probe.metrics["mean.accuracy"].value
    assert curve.protocol["selected"]["100%.mean"] == [probe.protocol["selected"]["mean"]]


def test_shares_that_cannot_be_are_refused():
    with pytest.raises(RecipeError, match="at most 1"):
        LowLabel(shares=(0.1, 10.0))
