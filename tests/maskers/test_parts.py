"""What is hidden of each part."""

from dataclasses import replace

import pytest
import torch

from support import loops
from tubelet.errors import RecipeError
from tubelet.maskers import PartPriority, Parts
from tubelet.seeds import fold, uniform
from tubelet.types import Batch, Clip

CLIP = Clip()


def batch_of(owners, parts, progress=1.0):
    count = len(owners)
    shares = torch.nn.functional.one_hot(owners, parts).float()
    video = torch.zeros(count, 3, 16, 224, 224, dtype=torch.uint8)
    return Batch(video, torch.arange(count), ("",) * count, maps={"parts": shares}, progress=progress)


def owners_of(count=5, parts=6):
    """A part of its own size in each clip, the tubelets of which stand anywhere."""
    sizes = uniform(torch.arange(count) + 100, parts).square() + 0.01
    edges = (sizes.cumsum(1) / sizes.sum(1, keepdim=True)).contiguous()
    return torch.searchsorted(edges, uniform(torch.arange(count) + 200, 1568)).clamp(max=parts - 1)


def hidden_of(masker, batch):
    mask = masker(batch, CLIP, fold(batch.key, "mask"))
    return torch.zeros(len(batch), 1568).scatter(1, mask.hidden, 1.0)


def per_part(values, owners, parts=6):
    return torch.stack([(values * (owners == part)).sum(1) for part in range(parts)], 1)


def test_at_first_the_ratio_of_every_part_is_hidden_to_rounding():
    owners = owners_of()
    hidden = per_part(hidden_of(Parts(), batch_of(owners, 6, progress=0.0)), owners)
    wanted = 0.75 * per_part(torch.ones(5, 1568), owners)
    assert (hidden - wanted).abs().max() <= 2
    assert (hidden.sum(1) == 1176).all()


@pytest.mark.parametrize("masker", [Parts(), Parts(hard=True)], ids=str)
def test_at_the_end_or_where_it_is_hard_whole_parts_are_hidden_but_for_one(masker):
    owners = owners_of()
    hidden = per_part(hidden_of(masker, batch_of(owners, 6, progress=0.0 if masker.hard else 1.0)), owners)
    whole = per_part(torch.ones(5, 1568), owners)
    assert (((hidden != 0) & (hidden != whole)).sum(1) <= 1).all()
    assert (hidden.sum(1) == 1176).all()


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_in_between_it_hides_what_the_loop_does_and_counts_are_exact(progress):
    owners = owners_of()
    batch = batch_of(owners, 6, progress)
    hidden = hidden_of(Parts(), batch)
    for number in range(len(batch)):
        key = fold(batch.key, "mask")[number : number + 1]
        draw = lambda count, purpose="", key=key: uniform(fold(key, purpose) if purpose else key, count)[0].numpy()  # noqa: E731
        wanted, _ = loops.parts({"parts": batch.maps["parts"][number].numpy()}, draw, 1 - progress**2)
        assert hidden[number].nonzero().flatten().tolist() == wanted.tolist()


def test_which_parts_are_hidden_whole_is_drawn_anew_for_every_clip():
    owners = (torch.arange(1568) % 4).expand(200, -1)
    hidden = per_part(hidden_of(Parts(hard=True), batch_of(owners, 4)), owners, 4)
    assert ((hidden == 0).sum(1) == 1).all()
    share = (hidden == 0).float().mean(0)
    assert (share - 0.25).abs().max() < 0.12


def test_ground_is_visible_first_then_skin_and_others_only_where_both_do_not_suffice():
    owners = torch.full((1, 8, 196), 6)  # a face of which nothing but the nose is seen
    owners[0, 0, :60] = 0  # enough ground
    owners[0, 1, :10], owners[0, 1, 10:50] = 0, 1  # less ground than 19.6, and skin
    owners[0, 2, :10], owners[0, 2, 10:12] = 0, 1  # too little of both
    visible = 1 - hidden_of(PartPriority(), batch_of(owners.flatten(1), 7))
    seen = visible.unflatten(1, (8, 196))[0]
    assert visible.sum() == 156
    assert seen[0, 60:].sum() == 0
    assert seen[1, 50:].sum() == 0
    assert seen[0].sum() > 0
    assert seen[2, 12:].sum() > 0


def test_the_others_follow_in_an_order_of_each_clip():
    owners = (2 + torch.arange(1568) % 4).expand(300, -1)
    visible = 1 - hidden_of(PartPriority(), batch_of(owners, 6))
    seen = per_part(visible, owners)[:, 2:]
    assert ((seen > 0).sum(1) == 1).all()
    assert ((seen > 0).float().mean(0) - 0.25).abs().max() < 0.1


def test_a_clip_without_parts_is_masked_at_random_and_the_others_are_not():
    owners = torch.zeros(400, 1568, dtype=torch.int64)
    owners[:, 1000:] = 2
    batch = batch_of(owners, 4)
    shares = batch.maps["parts"].clone()
    shares[:200] = 0
    visible = 1 - hidden_of(PartPriority(), replace(batch, maps={"parts": shares}))
    assert (visible.sum(1) == 156).all()
    assert visible[:200, 1000:].mean() == pytest.approx(156 / 1568, rel=0.03)
    assert visible[200:, 1000:1176].sum() == 0  # the sixth time step has ground enough


def test_a_part_that_no_map_has_and_one_named_twice_are_refused():
    with pytest.raises(RecipeError, match=r"masker\.first=\(0, 9\): the maps have 4 parts, numbered from 0"):
        hidden_of(PartPriority(first=(0, 9)), batch_of(torch.zeros(1, 1568, dtype=torch.int64), 4))
    for first in ((1, 1), (-1,)):
        with pytest.raises(RecipeError, match="must name parts by their numbers, from 0, each once"):
            PartPriority(first=first)
