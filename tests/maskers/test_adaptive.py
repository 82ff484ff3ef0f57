"""The learned masker: what it is paid for, whom that concerns, and that it comes to look where it is hard."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import RecipeError
from tubelet.maskers import Adaptive, RunningCell, Tube
from tubelet.maskers.adaptive import fitting_heads
from tubelet.models import Decoder, Vit
from tubelet.objectives import Contrast, Pixels
from tubelet.seeds import fold
from tubelet.tasks import Pretraining
from tubelet.types import Batch, Clip, Mask

CLIP = Clip(frames=4, size=32, tubelet_size=8)  # 2x4x4
PIXELS = Pixels(decoder=Decoder(width=24, depth=1, heads=2, positions="grid"))


def task_of(masker=None, decode=None, **objectives):
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=1, heads=2).build(CLIP)
    masker = masker or Adaptive(ratio=0.75)
    return Pretraining(CLIP, encoder, masker, objectives or {"pixels": PIXELS}, 12, decode)


def batch_of(count=4, seed=0, video=None):
    random = torch.Generator().manual_seed(seed)
    if video is None:
        video = torch.randint(0, 256, (count, 3, 4, 32, 32), dtype=torch.uint8, generator=random)
    numbers = torch.arange(count)
    text = torch.randn(count, 12, generator=random)
    ids = tuple(map(str, range(count)))
    return Batch(video=video, key=numbers * 7919 + seed, ids=ids, text=text, caption=numbers, source=numbers)


def gradients(task, batch):
    task.zero_grad()
    task(batch).loss.backward()
    return {name: p.grad.clone() for name, p in task.named_parameters() if p.grad is not None}


def mask_of(log_prob, decode):
    hidden = torch.tensor([decode])
    visible = torch.tensor([[i for i in range(log_prob.shape[1]) if i not in decode]])
    return Mask(visible=visible, hidden=hidden, decode=hidden, log_prob=log_prob)


def test_descending_its_loss_shows_a_tubelet_the_more_often_the_more_it_cost():
    """Four tubelets by hand: 0 is visible, 1 is free, 2 costs 1, 3 costs 3."""
    policy = Adaptive(ratio=0.75).build(CLIP, 32)
    logits = torch.zeros(1, 4, requires_grad=True)
    loss = policy.loss(mask_of(logits.log_softmax(-1), [1, 2, 3]), torch.tensor([[0.0, 1.0, 3.0]]), batch_of(1)).value
    loss.backward()
    expected = -1e-4 / 3 * (torch.tensor([0.0, 0.0, 1.0, 3.0]) - 0.25 * 4.0)
    torch.testing.assert_close(logits.grad[0], expected)
    assert logits.grad[0].argsort().tolist()[:2] == [3, 2]


@settings(deadline=None, max_examples=30)
@given(
    costs=st.lists(st.floats(0, 5), min_size=3, max_size=3), values=st.lists(st.floats(-2, 2), min_size=5, max_size=5)
)
def test_its_loss_is_minus_the_mean_of_log_probability_times_cost(costs, values):
    policy = Adaptive(weight=0.5).build(Clip(frames=4, size=64), 32)
    log_prob = torch.tensor([values]).log_softmax(-1)
    paid = policy.loss(mask_of(log_prob, [0, 2, 4]), torch.tensor([costs]), batch_of(1))
    expected = -sum(float(log_prob[0, i]) * cost for i, cost in zip((0, 2, 4), costs, strict=True)) / 3
    assert paid.terms["masker"].item() == pytest.approx(expected, abs=1e-5)
    assert paid.value.item() == pytest.approx(0.5 * expected, abs=1e-5)


def test_it_draws_visible_tubelets_without_replacement_by_their_probability():
    """One visible tubelet of 32 a clip, so its frequency is the probability itself."""
    policy = Adaptive(ratio=0.96).build(CLIP, 32)
    with torch.no_grad():
        torch.nn.init.normal_(policy.logit.weight, std=1.0)
        tokens = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(1)).expand(20_000, -1, -1)
        batch = batch_of(20_000, video=torch.zeros(20_000, 3, 4, 32, 32, dtype=torch.uint8))
        visible = policy(batch, CLIP, fold(batch.key, "mask"), tokens).visible
        probability = policy.log_prob(tokens[:1])[0].exp()
    assert visible.shape[1] == 1
    share = torch.bincount(visible.flatten(), minlength=32) / 20_000
    assert probability.max() > 3 / 32
    assert (share - probability).abs().max() < 5 * (probability.max() / 20_000) ** 0.5


def test_only_the_masker_learns_from_what_it_is_paid():
    """Encoder and decoder get the gradients of the same masks under any weight, to the last bit."""
    batch = batch_of()
    light_task, heavy_task = (task_of(Adaptive(ratio=0.75, weight=weight)) for weight in (1e-4, 1e3))
    torch.nn.init.normal_(light_task.policy.logit.weight)
    heavy_task.load_state_dict(light_task.state_dict())
    light, heavy = gradients(light_task, batch), gradients(heavy_task, batch)
    for name, gradient in light.items():
        assert torch.equal(gradient, heavy[name]) != name.startswith("policy."), name
    assert sum(name.startswith("policy.") for name in light) > 10


def test_every_weight_takes_part_and_its_terms_are_logged():
    task = task_of()
    assert gradients(task, batch_of()).keys() == dict(task.named_parameters()).keys()
    step = task(batch_of())
    assert step.loss.item() == pytest.approx(step.terms["pixels"].item() + 1e-4 * step.terms["masker"].item(), abs=1e-6)
    assert step.terms["masker.entropy"].item() == pytest.approx(1.0)
    assert not any(term.requires_grad for term in step.terms.values())


def test_a_weighted_objective_pays_by_its_weight():
    once, twice = (task_of(pixels=Pixels(decoder=PIXELS.decoder, weight=weight)) for weight in (1.0, 2.0))
    batch = batch_of()
    assert twice(batch).terms["masker"] == pytest.approx(2 * once(batch).terms["masker"].item(), rel=1e-5)


def test_it_starts_as_a_random_mask():
    mask = task_of().draw(batch_of())
    torch.testing.assert_close(mask.log_prob, torch.full((4, 32), 1 / 32).log())


def test_the_other_weights_start_as_without_it():
    learned, plain = task_of().state_dict(), task_of(Tube(ratio=0.5)).state_dict()
    assert set(learned) - set(plain) == {name for name in learned if name.startswith("policy.")}
    assert all(torch.equal(learned[name], value) for name, value in plain.items())


def test_it_is_paid_for_what_is_decoded_alone():
    task, batch = task_of(decode=RunningCell(share=0.5)), batch_of()
    seen = task.look(batch)
    assert seen.mask.decode.shape[1] == 12
    error = (task.reconstruct(batch).prediction - task.reconstruct(batch).target.values).square().mean(-1)
    expected = -(seen.mask.log_prob.gather(1, seen.mask.decode) * error).mean()
    assert task(batch).terms["masker"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_its_mask_follows_the_pixels_and_the_key_of_a_clip_and_nothing_else():
    task, batch = task_of(), replace(batch_of(), text=None, caption=None, source=None)
    torch.nn.init.normal_(task.policy.logit.weight)
    whole = task.draw(batch)
    part = replace(batch, video=batch.video[1:2], key=batch.key[1:2], ids=("1",))
    assert torch.equal(task.draw(part).hidden, whole.hidden[1:2])
    assert not torch.equal(task.draw(replace(batch, key=batch.key + 1)).hidden, whole.hidden)
    other = replace(batch, video=255 - batch.video)
    assert not torch.equal(task.draw(other).log_prob, whole.log_prob)


def test_in_bf16_its_probabilities_stay_in_fp32_and_sum_to_one():
    task, batch = task_of(), batch_of()
    torch.nn.init.normal_(task.policy.logit.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mask, loss = task.draw(batch), task(batch).loss
    assert mask.log_prob.dtype == torch.float32
    torch.testing.assert_close(mask.log_prob.exp().sum(1), torch.ones(4))
    assert loss.isfinite()


def test_without_an_objective_that_gives_the_loss_of_each_token_it_is_refused():
    with pytest.raises(RecipeError, match=r"Adaptive learns from the loss of each token; .*objectives\.pixels=Pixels"):
        task_of(contrast=Contrast())


@pytest.mark.parametrize(("fields", "said"), [({"weight": 0.0}, "masker.weight=0.0"), ({"heads": 0}, "masker.heads=0")])
def test_what_cannot_learn_is_refused(fields, said):
    with pytest.raises(RecipeError, match=said):
        Adaptive(**fields)


@pytest.mark.parametrize(
    ("width", "heads"), [(768, 8), (384, 8), (192, 8), (128, 8), (96, 6), (32, 2), (24, 1), (7, 1)]
)
def test_a_narrow_encoder_gets_fewer_heads(width, heads):
    assert fitting_heads(width, 8) == heads


def test_after_a_short_training_it_shows_more_of_the_region_that_is_hard():
    """The left half of every frame is noise that nobody can predict, the right half one colour, which costs nothing."""
    task = task_of()
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    left = (torch.arange(CLIP.num_tubelets) % 4 < 2).float()

    def on_the_left(seed):
        with torch.no_grad():
            return float(left[task.draw(noisy(seed)).visible].mean())

    def noisy(seed):
        batch = batch_of(16, seed)
        batch.video[..., 16:] = 90
        return batch

    before = on_the_left(10_000)
    for step in range(150):
        loss = task(noisy(step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert abs(before - 0.5) < 0.1
    assert on_the_left(10_000) > before + 0.2
