"""What every listed masker promises. A masker is tested by being listed in `tubelet.maskers.MASKERS`."""

import math
import sys
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import RecipeError
from tubelet.maskers import (
    MASKERS,
    Adaptive,
    Adversary,
    Attention,
    Blend,
    Block,
    Centre,
    Flow,
    Frame,
    Future,
    Masker,
    Motion,
    Oracle,
    PartPriority,
    Parts,
    Past,
    Random,
    Schedule,
    SmoothNoise,
    Text,
    TextFrame,
    Tube,
)
from tubelet.seeds import fold, uniform
from tubelet.types import Batch, Budget, Clip, Mask

every_masker = pytest.mark.parametrize("masker_class", MASKERS, ids=lambda c: c.__name__)
grids = st.builds(
    lambda time_steps, side: Clip(frames=2 * time_steps, size=4 * side, tubelet_frames=2, tubelet_size=4),
    st.integers(4, 8),
    st.integers(2, 7),
)
ratios = st.floats(0.3, 0.7)


def batch_of(clip: Clip, size: int = 3, first_key: int = 0, maps: torch.Tensor | None = None) -> Batch:
    """Maps of every kind, of noise; or all scalar maps as given and all others with their values."""
    key = torch.arange(first_key, first_key + size)
    shape = (clip.frames, *clip.grid[1:], 2)
    if maps is None:
        maps = uniform(fold(key, "map"), clip.num_tubelets)
        parts = uniform(fold(key, "parts"), 4 * clip.num_tubelets).unflatten(1, (-1, 4))
        vectors = 0.2 * uniform(fold(key, "vectors"), math.prod(shape)).unflatten(1, shape) - 0.1
    else:
        parts = maps[..., None].expand(-1, -1, 4)
        vectors = (
            maps.unflatten(1, clip.grid).repeat_interleave(clip.tubelet_frames, dim=1)[..., None].expand(-1, *shape)
        )
    pixels = 3, clip.frames, clip.size, clip.size
    return Batch(
        video=(255 * uniform(fold(key, "video"), math.prod(pixels))).byte().unflatten(1, pixels),
        key=key,
        ids=tuple(f"clip-{i}" for i in range(size)),
        maps={
            **dict.fromkeys(["text", "oracle", "attention"], maps),
            **dict.fromkeys(["motion", "flow"], vectors),
            "parts": parts,
        },
    )


def hiding(masker_class: type[Masker], ratio: float) -> Masker:
    """A masker of this class that hides this share, at its end."""
    if masker_class is Schedule:
        return Schedule(first=Random(ratio=ratio / 2), last=Random(ratio=ratio))
    return masker_class(ratio=ratio)


def draw(masker: Masker, batch: Batch, clip: Clip) -> Mask:
    """As the task does it: a learned masker draws with what it builds, from tokens of the clip's own."""
    torch.manual_seed(0)
    tokens = uniform(fold(batch.key, "tokens"), 16 * clip.num_tubelets).unflatten(1, (clip.num_tubelets, 16)) - 0.5
    with torch.no_grad():
        return (masker.build(clip, 16) or masker)(batch, clip, fold(batch.key, "mask"), tokens)


@every_masker
@settings(deadline=None, max_examples=25)
@given(clip=grids, ratio=ratios)
def test_visible_and_hidden_are_a_sorted_partition_of_the_tubelets_with_the_budgets_count(masker_class, clip, ratio):
    masker = hiding(masker_class, ratio)
    mask = draw(masker, batch_of(clip), clip)
    budget = masker.budget(clip)
    assert mask.hidden.shape == (3, budget.total)
    assert mask.visible.shape == (3, clip.num_tubelets - budget.total)
    for indices in (mask.visible, mask.hidden):
        assert (indices.diff(dim=1) > 0).all()
    together = torch.cat([mask.visible, mask.hidden], 1).sort(1).values
    assert torch.equal(together, torch.arange(clip.num_tubelets).expand_as(together))
    if budget.per != "clip":
        time_step = mask.hidden // clip.num_positions
        counts = torch.stack([(time_step == s).sum(1) for s in range(clip.grid[0])])
        assert (counts == budget.hidden).all()


@every_masker
def test_a_clip_gets_the_same_mask_in_any_batch_and_another_with_another_key(masker_class):
    clip = Clip(frames=8, size=64, tubelet_size=8)
    whole = batch_of(clip, 8)
    mask = draw(masker_class(), whole, clip)
    alone = draw(masker_class(), batch_of(clip, 1, first_key=2), clip)
    assert torch.equal(mask.hidden[2:3], alone.hidden)
    assert bool((mask.hidden == mask.hidden[:1]).all()) != masker_class.random


@every_masker
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_maps_still_give_exact_counts(masker_class, value):
    clip = Clip(frames=4, size=32, tubelet_size=8)
    maps = torch.full((3, clip.num_tubelets), value)
    masker = masker_class()
    assert draw(masker, batch_of(clip, maps=maps), clip).hidden.shape[1] == masker.budget(clip).total


@every_masker
@settings(deadline=None, max_examples=15)
@given(clip=grids, ratio=ratios, progress=st.floats(0, 1))
def test_at_any_moment_of_training_every_clip_hides_as_many_and_the_same_again(masker_class, clip, ratio, progress):
    masker = hiding(masker_class, ratio)
    batch = replace(batch_of(clip), progress=progress)
    mask = draw(masker, batch, clip)
    assert mask.hidden.shape == (3, masker.at(progress).budget(clip).total)
    assert torch.equal(draw(masker, batch, clip).hidden, mask.hidden)


@every_masker
def test_a_ratio_that_hides_nothing_or_everything_is_refused(masker_class):
    clip = Clip(frames=4, size=32, tubelet_size=8)
    for ratio in (0.0, 1.0):
        with pytest.raises(RecipeError, match="at least one"):
            hiding(masker_class, ratio).budget(clip)


@pytest.mark.parametrize(
    ("masker", "visible"),
    [
        (Tube(ratio=0.9), 160),
        (Tube(ratio=0.75), 392),
        (Random(ratio=0.9), 156),
        (Adaptive(ratio=0.95), 78),
        (Adversary(ratio=0.75), 392),
        (Parts(ratio=0.75), 392),
        (PartPriority(ratio=0.9), 156),
        *((Text(ratio=0.6, pick=pick), 632) for pick in ("top", "bottom", "random", "sample")),
        (TextFrame(ratio=0.5), 784),
        (Oracle(ratio=0.6), 632),
        (Blend(ratio=0.6), 632),
        (Motion(ratio=0.75), 392),
        (Flow(ratio=0.9), 160),
        (Flow(ratio=0.9, official_count=True), 152),
        (Attention(ratio=0.8), 320),
        (Frame(ratio=0.75), 392),
        (Future(ratio=0.5), 784),
        (Past(ratio=0.5), 784),
        (Block(ratio=0.75), 392),
        (SmoothNoise(ratio=0.75), 392),
        (Centre(ratio=0.6), 632),
        (Schedule(first=Text(ratio=0.4), last=Text(ratio=0.6)), 632),
    ],
    ids=str,
)
def test_counts_at_8x14x14_are_the_published_ones(masker, visible):
    """And those of our own, by the same rounding: hidden floored per time step, or visible floored per clip."""
    clip = Clip()
    mask = draw(masker, batch_of(clip, 2), clip)
    assert mask.visible.shape == (2, visible)
    assert mask.hidden.shape == (2, 1568 - visible)
    budget = masker.budget(clip)
    if budget.per != "clip":
        time_steps = torch.stack([torch.bincount(hidden // 196, minlength=8) for hidden in mask.hidden])
        assert (time_steps == budget.hidden).all()


def test_the_hidden_counts_that_papers_print():
    clip = Clip()
    assert draw(Tube(ratio=0.9), batch_of(clip, 1), clip).hidden.shape[1] == 1408
    assert Text(ratio=0.6).budget(clip).hidden == 117


def test_a_tube_hides_the_same_places_at_every_time_step():
    clip = Clip()
    hidden = draw(Tube(), batch_of(clip), clip).hidden.unflatten(1, (8, 176)) % clip.num_positions
    assert (hidden == hidden[:, :1]).all()


@pytest.mark.parametrize("masker", [Frame(ratio=0.75), Future(ratio=0.75), Past(ratio=0.75)], ids=str)
def test_frame_future_and_past_hide_whole_time_steps(masker):
    clip = Clip(frames=16, size=32, tubelet_size=8)
    time_steps = draw(masker, batch_of(clip), clip).hidden.unflatten(1, (6, 16)) // clip.num_positions
    assert (time_steps == time_steps[:, :, :1]).all()
    if isinstance(masker, Future):
        assert time_steps[:, :, 0].tolist() == [[2, 3, 4, 5, 6, 7]] * 3
    if isinstance(masker, Past):
        assert time_steps[:, :, 0].tolist() == [[0, 1, 2, 3, 4, 5]] * 3


def test_centre_hides_no_place_farther_than_a_visible_one():
    clip = Clip(frames=4, size=112, tubelet_size=16)
    mask = draw(Centre(ratio=0.5), batch_of(clip, 1), clip)

    def distance(index):
        position = index % clip.num_positions
        return torch.hypot(position // 7 - 3.0, position % 7 - 3.0)

    assert distance(mask.hidden).max() <= distance(mask.visible).min()


def test_block_hides_the_union_of_its_blocks_when_the_count_allows_it():
    clip = Clip(frames=4, size=160, tubelet_size=16)
    masker = Block(blocks=3, scale=0.12)
    batch = batch_of(clip, 20)
    scores = masker.scores(batch, clip, fold(batch.key, "mask"))
    for clip_scores in scores:
        inside = (clip_scores[:100] > 0).sum()
        assert 12 <= inside <= 36
        exact = Mask.hide_top(clip_scores[None], Budget(int(inside), "position", clip.grid))
        assert (clip_scores[exact.hidden[0]] > 0).all()


def test_smooth_noise_has_fewer_borders_than_random_and_becomes_a_tube():
    clip = Clip(frames=16, size=40, tubelet_size=4)

    def changes(masker, axis):
        mask = draw(masker, batch_of(clip, 12), clip)
        hidden = torch.zeros(12, clip.num_tubelets).scatter(1, mask.hidden, 1.0).unflatten(1, clip.grid)
        return float(hidden.diff(dim=axis).abs().mean())

    rough, smooth = SmoothNoise(sigma_space=0.0, sigma_time=0.0), SmoothNoise(sigma_space=2.0, sigma_time=2.0)
    assert changes(rough, 2) == pytest.approx(2 * 0.75 * 0.25, rel=0.05)
    assert changes(smooth, 2) < 0.6 * changes(rough, 2)
    assert changes(smooth, 1) < 0.6 * changes(rough, 1)
    assert changes(SmoothNoise(sigma_space=0.0, sigma_time=1000.0), 1) < 0.02


def test_text_hides_the_most_similar_places_of_every_time_step_and_bottom_the_least():
    clip = Clip(frames=4, size=64, tubelet_size=16)
    batch = batch_of(clip)
    scores = batch.maps["text"].unflatten(1, (2, 16))
    for pick, best in (("top", scores), ("bottom", -scores)):
        hidden = draw(Text(ratio=0.5, pick=pick), batch, clip).hidden
        expected = best.argsort(-1, descending=True)[..., :8].sort(-1).values + torch.tensor([0, 16])[:, None]
        assert torch.equal(hidden, expected.flatten(1))


@settings(deadline=None, max_examples=40)
@given(
    clip=grids,
    ratio=ratios,
    power=st.floats(0.3, 3),
    kind=st.sampled_from([(Text, "top"), (Text, "bottom"), (Attention, "top")]),
)
def test_a_masker_that_picks_the_top_or_bottom_is_invariant_to_a_monotone_map_of_its_scores(clip, ratio, power, kind):
    batch = batch_of(clip)
    ranks = batch.maps["text"].argsort(1).argsort(1)
    bent = batch_of(clip, maps=(ranks + 1).float().pow(power))
    masker = kind[0](ratio=ratio, pick=kind[1])
    assert torch.equal(draw(masker, batch, clip).hidden, draw(masker, bent, clip).hidden)


@settings(deadline=None, max_examples=25)
@given(clip=grids, ratio=ratios)
def test_text_sampled_without_heat_is_the_top_and_with_endless_heat_is_random(clip, ratio):
    batch = batch_of(clip)

    def hidden(**fields):
        return draw(Text(ratio=ratio, **fields), batch, clip).hidden

    assert torch.equal(hidden(pick="sample", temperature=0.0), hidden(pick="top"))
    assert torch.equal(hidden(pick="sample", temperature=1e-12), hidden(pick="top"))
    assert torch.equal(hidden(pick="sample", temperature=1e9), hidden(pick="random"))


def test_text_sampled_draws_with_weights_of_similarity_over_temperature():
    """One of four positions is hidden, so its frequency is the softmax that the temperature gives."""
    clip = Clip(frames=2, size=8, tubelet_size=4)
    similarity = torch.tensor([0.1, 0.4, 0.2, 0.9])
    batch = batch_of(clip, 20_000, maps=similarity.expand(20_000, 4))
    hidden = draw(Text(ratio=0.25, pick="sample", temperature=0.8), batch, clip).hidden
    share = torch.bincount(hidden.flatten(), minlength=4) / 20_000
    expected = torch.softmax((similarity - similarity.mean()) / similarity.std(correction=0) / 0.8, 0)
    assert (share - expected).abs().max() < 5 * 0.5 / 20_000**0.5


@settings(deadline=None, max_examples=25)
@given(clip=grids, scale=st.floats(0.01, 100), shift=st.floats(-1, 1))
def test_the_temperature_of_a_sampled_text_mask_does_not_depend_on_the_scale_of_the_aligner(clip, scale, shift):
    batch = batch_of(clip)
    other = batch_of(clip, maps=batch.maps["text"] * scale + shift * scale)
    masks = [draw(Text(pick="sample"), b, clip).hidden for b in (batch, other)]
    assert (masks[0] == masks[1]).float().mean() > 0.97


def test_a_temperature_below_zero_is_refused():
    with pytest.raises(RecipeError, match=r"masker\.temperature=-1"):
        Text(pick="sample", temperature=-1.0)


@settings(deadline=None, max_examples=25)
@given(clip=grids, ratio=ratios)
def test_text_frame_without_noise_is_the_top_of_the_whole_clip(clip, ratio):
    batch = batch_of(clip)
    masker = TextFrame(ratio=ratio, temperature=0.0, time_step_weight=0.0)
    expected = Mask.hide_top(batch.maps["text"], masker.budget(clip)).hidden
    assert torch.equal(draw(masker, batch, clip).hidden, expected)


@settings(deadline=None, max_examples=25)
@given(clip=grids)
def test_text_frame_hides_whole_time_steps_as_the_weight_of_their_draw_grows(clip):
    time_steps = clip.grid[0]
    hidden = draw(TextFrame(ratio=(time_steps // 2) / time_steps, time_step_weight=1e5), batch_of(clip), clip).hidden
    counts = torch.stack([torch.bincount(row // clip.num_positions, minlength=time_steps) for row in hidden])
    assert set(counts.flatten().tolist()) == {0, clip.num_positions}


def test_text_frame_hides_what_is_named_more_often_than_the_rest_and_still_shows_it_at_times():
    clip = Clip(frames=16, size=16, tubelet_size=4)
    subject = torch.zeros(500, clip.num_tubelets)
    subject[:, 5::16] = 1.0  # one position of each of the 8 time steps
    hidden = draw(TextFrame(), batch_of(clip, 500, maps=subject), clip).hidden
    share = torch.bincount(hidden.flatten(), minlength=128) / 500
    named = share[5::16]
    assert (named > 0.6).all()
    assert (named < 0.99).all()
    assert share.mean() == pytest.approx(0.5)


def test_a_weight_of_time_steps_below_zero_is_refused():
    with pytest.raises(RecipeError, match=r"masker\.time_step_weight=-1"):
        TextFrame(time_step_weight=-1.0)


def test_random_and_tube_hide_every_place_equally_often():
    clip = Clip(frames=4, size=16, tubelet_size=4)
    clips = 1000
    batch = batch_of(clip, clips)
    for masker in (
        Random(ratio=0.5),
        Tube(ratio=0.5),
        Text(ratio=0.5, pick="random"),
        Text(pick="sample", temperature=1e4, ratio=0.5),
    ):
        share = torch.bincount(draw(masker, batch, clip).hidden.flatten(), minlength=32) / clips
        assert (share - 0.5).abs().max() < 5 * 0.5 / clips**0.5


def test_ties_go_to_the_lower_index():
    clip = Clip(frames=4, size=32, tubelet_size=16)
    maps = torch.zeros(1, 8)
    assert draw(Text(ratio=0.5), batch_of(clip, 1, maps=maps), clip).hidden.tolist() == [[0, 1, 4, 5]]


@every_masker
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_in_a_map_is_refused_by_the_name_of_masker_and_map(masker_class, value):
    clip, masker = Clip(frames=4, size=32, tubelet_size=8), masker_class()
    for name in masker.maps:
        batch = batch_of(clip)
        maps = dict(batch.maps)
        maps[name] = maps[name].clone()
        maps[name][1, 3] = value
        with pytest.raises(ValueError, match=rf"^{masker_class.__name__}: .*NaN.* the map .*{name}"):
            draw(masker, replace(batch, maps=maps), clip)


@every_masker
def test_a_masker_is_a_frozen_config_in_a_file_that_names_its_paper_and_its_law(masker_class):
    with pytest.raises(FrozenInstanceError):
        masker_class().ratio = 0.5
    story = sys.modules[masker_class.__module__].__doc__
    assert "arXiv" in story
    assert "Invariant:" in story
