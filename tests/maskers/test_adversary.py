"""It hides what is hard, as its error says and as a prior map says."""

import copy
from dataclasses import replace

import pytest
import torch

from support.tasks import CLIP, DECODER, batch_of, task_of
from tubelet.errors import RecipeError
from tubelet.maskers import Adversary
from tubelet.maskers.adversary import per_tubelet
from tubelet.objectives import Pixels
from tubelet.optim import Optim
from tubelet.seeds import fold
from tubelet.types import Mask

PIXELS = {"pixels": Pixels(decoder=DECODER)}


def adversary(**fields):
    return task_of(PIXELS, Adversary(**fields))


def with_prior(batch):
    prior = torch.zeros(len(batch), CLIP.num_tubelets)
    prior[:, 5:9] = 1
    return replace(batch, maps={"oracle": prior})


def mask_of(log_prob, decode):
    hidden = torch.tensor([decode])
    visible = torch.tensor([[i for i in range(log_prob.shape[1]) if i not in decode]])
    return Mask(visible=visible, hidden=hidden, decode=hidden, log_prob=log_prob)


def test_descending_its_loss_hides_a_tubelet_the_more_often_the_more_it_cost():
    """Four tubelets by hand, as for Adaptive, whose sign is the other: 0 is visible, 1 free, 2 costs 1, 3 costs 3."""
    policy = Adversary(weight=0.5).build(CLIP, 32)
    logits = torch.zeros(1, 4, requires_grad=True)
    mask = mask_of(logits.log_softmax(-1), [1, 2, 3])
    paid = policy.loss(mask, torch.tensor([[0.0, 1.0, 3.0]]), batch_of(1))
    assert paid.terms["masker"].item() == pytest.approx(-(0 + 1 + 3) / 3)
    paid.value.backward()
    cost = torch.tensor([0.0, 0.0, 1.0, 3.0])
    torch.testing.assert_close(logits.grad[0], -0.5 / 3 * 4 * 0.25 * (cost - 0.25 * cost.sum()))
    assert logits.grad[0].argsort().tolist()[:2] == [3, 2]
    assert logits.grad[0, 3] < 0


def test_it_draws_hidden_tubelets_without_replacement_by_their_probability():
    policy = Adversary(ratio=0.01).build(CLIP, 32)  # visible: 31 of 32
    with torch.no_grad():
        torch.nn.init.normal_(policy.logit.weight, std=1.0)
        tokens = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(1)).expand(20_000, -1, -1)
        batch = batch_of(1)
        video = batch.video.expand(20_000, -1, -1, -1, -1)
        batch = replace(batch, video=video, key=torch.arange(20_000), ids=("",) * 20_000)
        hidden = policy(batch, CLIP, fold(batch.key, "mask"), tokens).hidden
        probability = policy.log_prob(tokens[:1])[0].exp()
    assert hidden.shape[1] == 1
    share = torch.bincount(hidden.flatten(), minlength=32) / 20_000
    assert probability.max() > 3 / 32
    assert (share - probability).abs().max() < 5 * (probability.max() / 20_000) ** 0.5


@pytest.mark.parametrize("prior", ["", "oracle"])
def test_neither_encoder_nor_decoder_learns_from_it(prior):
    batch = with_prior(batch_of())
    found = []
    light = adversary(prior=prior, weight=1e-4)
    torch.nn.init.normal_(light.policy.logit.weight)
    for weight in (1e-4, 1e3):
        task = adversary(prior=prior, weight=weight)
        task.load_state_dict(light.state_dict())
        task(batch).loss.backward()
        found.append({name: p.grad for name, p in task.named_parameters()})
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name]) == (not name.startswith("policy.") or ".critic." in name), name


def test_the_critic_and_the_network_get_the_gradients_of_two_separate_passes():
    task, batch = adversary(prior="oracle", weight=0.5, prior_weight=2.0), with_prior(batch_of())
    torch.nn.init.normal_(task.policy.logit.weight)
    seen = task.look(batch)
    mask, error = seen.mask, torch.rand(seen.mask.decode.shape)

    def gradients(loss):
        task.zero_grad()
        loss.backward(retain_graph=True)
        return {name: copy.copy(p.grad) for name, p in task.policy.named_parameters()}

    got = gradients(task.policy.loss(mask, error, batch).value)
    likely = mask.log_prob.exp() * 32
    critic = task.policy.critic
    paid = -(likely.gather(1, mask.decode) * error).mean() - 2.0 * critic(likely).mean()
    network = gradients(0.5 * paid)
    told = gradients(critic(likely.detach()).mean() - critic(per_tubelet(batch.maps["oracle"])).mean())
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, (told if name.startswith("critic.") else network)[name], msg=name)
    assert {*task.detached_parameters()} == {*critic.parameters()}
    assert Optim(clip_norm=1e-3).clip(task)["gradient_norm.detached"] > 0


def test_a_prior_is_brought_to_the_scale_of_the_probabilities():
    prior = with_prior(batch_of()).maps["oracle"]
    torch.testing.assert_close(per_tubelet(prior).mean(1), torch.ones(3))
    assert torch.equal(per_tubelet(torch.zeros(2, 8)), torch.ones(2, 8))
    assert Adversary(prior="oracle").maps == ("oracle",)
    assert Adversary().maps == ()


def trained(task, batch_at, steps, lr=3e-3):
    optimizer = torch.optim.AdamW(task.parameters(), lr=lr)
    for step in range(steps):
        loss = task(batch_at(step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return task


def test_after_a_short_training_it_hides_more_of_the_region_that_is_hard():
    """The left half of every frame is noise that nobody can predict, the right half one colour, which costs nothing."""
    left = (torch.arange(CLIP.num_tubelets) % 4 < 2).float()

    def noisy(seed):
        batch = batch_of(8, seed)
        batch.video[..., 16:] = 90
        return batch

    task = trained(adversary(ratio=0.5, weight=0.1), noisy, 80)
    with torch.no_grad():
        assert float(left[task.draw(noisy(10_000)).hidden].mean()) > 0.7


def test_with_a_prior_it_comes_to_hide_what_the_map_names():
    """The four tubelets that the map names, of pixels that are all alike, so that the error says nothing."""

    def flat(seed):
        batch = batch_of(8, seed)
        return with_prior(replace(batch, video=torch.full_like(batch.video, 90)))

    task = trained(adversary(ratio=0.5, weight=0.1, prior="oracle", critic_width=32), flat, 100)
    named = flat(1).maps["oracle"][0]
    with torch.no_grad():
        assert float(named[task.draw(flat(10_000)).hidden].sum(1).mean()) > 2.8  # at random 2 of 4


def test_what_cannot_be_is_refused():
    with pytest.raises(RecipeError, match=r"masker\.prior_weight=-1 must be 0 or more"):
        Adversary(prior_weight=-1.0)
    with pytest.raises(RecipeError, match=r"masker\.weight=0"):
        Adversary(weight=0.0)
