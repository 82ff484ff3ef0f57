"""A mask that changes with the share of the training that is done."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.config import changed, from_plain, override, to_plain
from tubelet.errors import RecipeError
from tubelet.maskers import Adaptive, Blend, Block, Random, Schedule, Text, Tube
from tubelet.recipes import tiny
from tubelet.recipes.pretrain import Pretrain
from tubelet.seeds import fold
from tubelet.types import Batch, Clip

CLIP = Clip(frames=8, size=64, tubelet_size=16)  # 4x4x4


def batch_of(progress):
    key = torch.arange(3)
    video = torch.zeros(3, 3, 8, 64, 64, dtype=torch.uint8)
    maps = dict.fromkeys(("text", "motion"), torch.rand(3, 64, generator=torch.Generator().manual_seed(0)))
    return Batch(video=video, key=key, ids=("a", "b", "c"), maps=maps, progress=progress)


def hidden(masker, progress):
    batch = batch_of(progress)
    return masker(batch, CLIP, fold(batch.key, "mask")).hidden


PAIRS = [
    (Random(ratio=0.3), Random(ratio=0.8)),
    (Tube(ratio=0.9), Tube(ratio=0.4)),
    (Text(ratio=0.4, pick="sample", temperature=4.0), Text(ratio=0.6, pick="sample", temperature=0.0)),
    (Blend(weights={"text": 1.0}), Blend(weights={"motion": 1.0}, temperature=0.5)),
]


@pytest.mark.parametrize(("first", "last"), PAIRS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("shape", ["line", "cosine"])
def test_it_begins_as_the_first_and_ends_as_the_last(first, last, shape):
    schedule = Schedule(first=first, last=last, shape=shape, until=0.75)
    assert torch.equal(hidden(schedule, 0.0), hidden(first, 0.0))
    for done in (0.75, 0.9, 1.0):
        assert schedule.at(done) == last
        assert torch.equal(hidden(schedule, done), hidden(last, done))


def test_half_way_every_number_is_half_way():
    first = Blend(ratio=0.4, weights={"text": 1.0, "motion": 0.5}, temperature=2.0)
    last = Blend(ratio=0.6, weights={"motion": 1.5, "flow": -1.0}, temperature=0.0)
    half = Blend(ratio=0.5, weights={"text": 0.5, "motion": 1.0, "flow": -0.5}, temperature=1.0)
    for shape in ("line", "cosine"):
        found = Schedule(first=first, last=last, shape=shape).at(0.5)
        assert found.ratio == pytest.approx(0.5)
        assert found.weights == pytest.approx(half.weights)
        assert found.temperature == pytest.approx(1.0)
    assert Schedule(first=first, last=last).needs == ("motion", "text", "flow")


def test_a_whole_number_stays_whole():
    schedule = Schedule(first=Block(blocks=2), last=Block(blocks=9))
    assert {schedule.at(share / 20).blocks for share in range(21)} == set(range(2, 10))


@settings(deadline=None, max_examples=40)
@given(progress=st.floats(0, 1), pair=st.sampled_from(PAIRS[:2]), shape=st.sampled_from(["line", "cosine"]))
def test_the_count_moves_one_way_and_is_the_same_for_every_clip(progress, pair, shape):
    first, last = pair
    schedule = Schedule(first=first, last=last, shape=shape)
    counts = [schedule.at(done).budget(CLIP).total for done in sorted((0.0, progress, 1.0))]
    assert counts in (sorted(counts), sorted(counts, reverse=True))
    assert hidden(schedule, progress).shape == (3, schedule.at(progress).budget(CLIP).total)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"first": Tube(), "last": Random()}, "masker.first=Tube and masker.last=Random must be the same masker"),
        ({"first": Text(pick="top"), "last": Text(pick="bottom")}, "masker.first.pick=top and masker.last.pick=bottom"),
        ({"first": Adaptive(), "last": Adaptive()}, "masker.first=Adaptive is learned"),
        ({"until": 0.0}, "masker.until=0.0 must be above 0"),
    ],
)
def test_what_cannot_change_by_degrees_is_refused(fields, said):
    with pytest.raises(RecipeError, match=said):
        Schedule(**fields)


@pytest.mark.parametrize("end", ["first", "last"])
def test_an_impossible_ratio_at_either_end_is_refused_before_the_first_step(end):
    with pytest.raises(RecipeError, match="at least one"):
        Schedule(**{end: Random(ratio=1.0)}).budget(CLIP)


def test_the_command_line_speaks_of_both_ends_and_of_single_weights():
    words = [
        "masker=Schedule", "masker.first=Blend", "masker.last=Blend", "masker.last.weights.text=0.25",
        "masker.last.weights.oracle=2", "masker.first.ratio=0.4", "masker.until=0.8",
    ]  # fmt: skip
    config = override(tiny(), words)
    last = Blend(weights={"text": 0.25, "motion": 1.0, "oracle": 2.0})
    assert config.masker == Schedule(first=Blend(ratio=0.4), last=last, until=0.8)
    assert from_plain(Pretrain, to_plain(config), "recipe.json") == config
    assert {"masker.last.weights.text", "masker.last.weights.oracle"} <= set(changed(config))
    assert "masker.last.weights.motion" not in set(changed(config))
    with pytest.raises(RecipeError, match=r"weights\.text=much does not fit: it must be float"):
        override(config, ["masker.last.weights.text=much"])
    with pytest.raises(RecipeError, match=r"no option masker\.last\.wieghts\.text"):
        override(config, ["masker.last.wieghts.text=1"])


def test_progress_travels_with_the_batch_and_ends_at_one_outside_of_training():
    batch = batch_of(0.25)
    assert batch.to("cpu").progress == 0.25
    fields = {name: getattr(batch, name) for name in ("video", "key", "ids")}
    assert Batch(**fields).progress == 1.0
    assert replace(batch, progress=0.5).progress == 0.5
