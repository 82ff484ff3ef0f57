"""Maskers that read maps: what the teacher attends to, what is true, and sums of maps."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import RecipeError
from tubelet.maskers import Attention, Blend, Oracle, Text
from tubelet.seeds import fold, uniform
from tubelet.types import Batch, Clip

CLIP = Clip(frames=4, size=64, tubelet_size=16)  # 2x4x4


def batch_of(count=3, clip=CLIP, **maps):
    key = torch.arange(count)
    video = torch.zeros(count, 3, clip.frames, clip.size, clip.size, dtype=torch.uint8)
    return Batch(video=video, key=key, ids=tuple(map(str, range(count))), maps=maps)


def random_map(name, count=3, clip=CLIP):
    return uniform(fold(torch.arange(count), name), clip.num_tubelets)


def hidden(masker, batch, clip=CLIP):
    return masker(batch, clip, fold(batch.key, "mask")).hidden


def test_attention_on_top_shows_what_is_attended_to_most_at_every_time_step():
    attention = random_map("attention")
    mask = Attention(ratio=0.75, pick="top")(batch_of(attention=attention), CLIP, torch.arange(3))
    per_time_step = attention.unflatten(1, (2, 16))
    expected = per_time_step.argsort(-1, descending=True)[..., :4].sort(-1).values + torch.tensor([0, 16])[:, None]
    assert torch.equal(mask.visible, expected.flatten(1))


def test_attention_shows_each_place_as_often_as_it_is_attended_to():
    """One position a time step is shown, so its frequency is the share of the attention that it gets."""
    attention = torch.rand(1, 32, generator=torch.Generator().manual_seed(0)) ** 3
    batch = batch_of(20_000, attention=attention.expand(20_000, -1))
    visible = Attention(ratio=0.95)(batch, CLIP, fold(batch.key, "mask")).visible
    share = torch.bincount(visible.flatten(), minlength=32) / 20_000
    expected = torch.nn.functional.normalize(attention.unflatten(1, (2, 16)), p=1, dim=-1).flatten()
    assert (share - expected).abs().max() < 5 * 0.5 / 20_000**0.5


@settings(deadline=None, max_examples=25)
@given(scale=st.floats(1e-2, 1e3), pick=st.sampled_from(["sample", "top"]))
def test_scaling_the_attention_changes_nothing(scale, pick):
    masker, attention = Attention(ratio=0.5, pick=pick), 0.05 + random_map("attention")
    same = hidden(masker, batch_of(attention=attention)) == hidden(masker, batch_of(attention=attention * scale))
    assert same.float().mean() > 0.97


def test_attention_of_nothing_at_all_is_still_a_mask():
    zeros = torch.zeros(3, 32)
    assert hidden(Attention(ratio=0.5), batch_of(attention=zeros)).shape == (3, 16)


@pytest.mark.parametrize("seed", range(4))
def test_the_oracle_hides_the_whole_subject_where_it_fits_and_the_rest_by_chance(seed):
    cover = torch.zeros(64, 32)
    cover[:, [3, 7, 18, 22, 23]] = torch.tensor([1.0, 0.25, 0.5, 0.125, 1.0])
    batch = replace(batch_of(64, oracle=cover), key=torch.arange(64) + 1000 * seed)
    chosen = hidden(Oracle(ratio=0.5), batch)
    assert all({3, 7, 18, 22, 23} <= set(clip) for clip in chosen.tolist())
    share = torch.bincount(chosen.flatten(), minlength=32) / 64
    first = share[[i for i in range(16) if i not in (3, 7)]]
    assert (first - 6 / 14).abs().max() < 0.3  # no corner is always hidden
    assert not torch.equal(chosen[0], chosen[1])


def test_the_oracle_hides_the_most_covered_first_and_bottom_shows_the_subject():
    cover = random_map("oracle")
    time_steps = (cover * 512).floor().unflatten(1, (2, 16)) / 512
    top = hidden(Oracle(ratio=0.25), batch_of(oracle=time_steps.flatten(1)))
    picture = torch.zeros(3, 32).scatter(1, top, 1.0).unflatten(1, (2, 16))
    for one, held in zip(picture.flatten(0, 1), time_steps.flatten(0, 1), strict=True):
        assert held[one == 1].min() >= held[one == 0].max()
    subject = torch.zeros(3, 32)
    subject[:, [5, 21]] = 1.0
    assert not (hidden(Oracle(ratio=0.9, pick="bottom"), batch_of(oracle=subject)) % 16 == 5).any()


@settings(deadline=None, max_examples=25)
@given(
    weights=st.tuples(st.floats(0.2, 3), st.floats(-3, 3)),
    scale=st.floats(0.1, 50),
    shift=st.floats(-5, 5),
)
def test_a_blend_does_not_care_for_the_scale_of_its_maps(weights, scale, shift):
    text, motion = random_map("text"), random_map("motion")
    masker = Blend(ratio=0.5, weights={"text": weights[0], "motion": weights[1]})
    one, other = (hidden(masker, batch_of(text=text, motion=m)) for m in (motion, motion * scale + shift))
    assert (one == other).float().mean() > 0.97


def test_a_blend_is_the_weighted_sum_of_standardised_maps():
    """Against NumPy, clip by clip."""
    text, motion = random_map("text"), random_map("motion")
    chosen = hidden(Blend(ratio=0.5, weights={"text": 1.0, "motion": -0.5}), batch_of(text=text, motion=motion))
    for clip in range(3):
        one, two = text[clip].double().numpy(), motion[clip].double().numpy()
        total = (one - one.mean()) / one.std() - 0.5 * (two - two.mean()) / two.std()
        expected = [
            time_step * 16 + i for time_step in (0, 1) for i in sorted((-total[time_step * 16 :][:16]).argsort()[:8])
        ]
        assert chosen[clip].tolist() == expected


def test_a_blend_of_one_map_hides_its_top_and_needs_no_other():
    text = random_map("text")
    masker = Blend(ratio=0.5, weights={"text": 2.0, "motion": 0.0})
    assert masker.needs == ("text",)
    assert torch.equal(hidden(masker, batch_of(text=text)), hidden(Text(ratio=0.5), batch_of(text=text)))


def test_a_constant_map_says_nothing_in_a_blend():
    text, flat = random_map("text"), torch.full((3, 32), 0.1)
    with_flat = hidden(Blend(ratio=0.5), batch_of(text=text, motion=flat))
    assert torch.equal(with_flat, hidden(Text(ratio=0.5), batch_of(text=text)))


def test_a_blend_sampled_at_great_heat_is_random():
    text = random_map("text")
    cold, hot = Blend(weights={"text": 1.0}, temperature=0.0), Blend(weights={"text": 1.0}, temperature=1e6)
    batch = batch_of(text=text)
    assert torch.equal(hidden(hot, batch), hidden(Text(pick="random"), batch))
    assert torch.equal(hidden(cold, batch), hidden(Text(), batch))


@pytest.mark.parametrize("weights", [{}, {"text": 0.0}, {"text": float("nan")}, {"text": float("inf")}])
def test_a_blend_of_nothing_is_refused(weights):
    with pytest.raises(RecipeError, match=r"masker\.weights="):
        Blend(weights=weights)
