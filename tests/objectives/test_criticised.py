"""One backward pass trains decoder and critic as two would."""

import pytest
import torch

from support.tasks import DECODER, batch_of, task_of
from tubelet.errors import RecipeError
from tubelet.models.patches import gather
from tubelet.objectives import Criticised
from tubelet.objectives.targets import Features, Raw
from tubelet.optim import Optim


def criticised(adversary=0.5, **fields):
    task = task_of(
        {"pixels": Criticised(adversary=adversary, critic_width=16, target=Raw(), decoder=DECODER, **fields)}
    )
    return task, task.objectives["pixels"]


def gradients(task, loss):
    task.zero_grad()
    loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in task.named_parameters()}


def parts(task, batch):
    """Error, the decoder's reward and the critic's own loss, each written out."""
    seen, head = task.look(batch), task.objectives["pixels"]
    prediction = head.predict(seen)
    true = head.config.target.standardise(gather(seen.tubelets, seen.mask.decode), seen.mask.decode, seen.clip).values
    error = (prediction - true).square().mean()
    return error, -head.critic(prediction).mean(), head.critic(prediction.detach()).mean() - head.critic(true).mean()


def test_gradients_equal_those_of_two_optimizers_with_a_backward_pass_each():
    task, _ = criticised()
    batch = batch_of()
    got = gradients(task, task(batch).loss)
    error, deceiving, _ = parts(task, batch)
    decoders = gradients(task, error + 0.5 * deceiving)
    critics = gradients(task, parts(task, batch)[2])
    for name, gradient in got.items():
        own = critics if ".critic." in name else decoders
        torch.testing.assert_close(gradient, own[name], msg=name)
    assert any(gradient.abs().max() > 0 for name, gradient in got.items() if ".critic." in name)


def test_the_decoders_reward_leaves_the_critic_alone_and_the_critics_loss_all_else():
    batch = batch_of()
    with_reward, _ = criticised(adversary=5.0)
    without, _ = criticised(adversary=0.0)
    paid, unpaid = gradients(with_reward, with_reward(batch).loss), gradients(without, without(batch).loss)
    critic = [name for name in paid if ".critic." in name]
    assert all(torch.equal(paid[name], unpaid[name]) for name in critic)
    plain = gradients(without, parts(without, batch)[0])
    for name in set(paid) - set(critic):
        torch.testing.assert_close(unpaid[name], plain[name], msg=name)
    assert any(not torch.equal(paid[name], unpaid[name]) for name in set(paid) - set(critic))


def test_the_critic_is_clipped_apart():
    task, head = criticised()
    assert {*task.detached_parameters()} == {*head.critic.parameters()}
    task(batch_of()).loss.backward()
    norms = Optim(clip_norm=1e-3).clip(task)
    assert norms["gradient_norm.detached"] > 0
    for some in (head.critic.parameters(), head.decoder.parameters()):
        assert 0 < torch.nn.utils.get_total_norm([p.grad for p in some]) <= 1.001e-3


def test_the_critics_values_are_bounded_and_both_are_logged():
    task, head = criticised(bound=2.0)
    assert head.critic(1e6 * torch.randn(2, 3, head.critic.layers[0].in_features)).abs().max() <= 2
    terms = task(batch_of()).terms
    error, deceiving, told = parts(task, batch_of())
    torch.testing.assert_close(terms["pixels"], error.detach())
    torch.testing.assert_close(terms["pixels.predicted"], -deceiving.detach())
    torch.testing.assert_close(terms["pixels.predicted"] - terms["pixels.true"], told.detach())


def test_a_critic_learns_to_tell_true_from_predicted_tubelets():
    task, head = criticised(adversary=0.0)
    optimizer = torch.optim.Adam(head.critic.parameters(), lr=0.01)
    gaps = []
    for seed in range(30):
        step = task(batch_of(seed=seed))
        gaps.append((step.terms["pixels.true"] - step.terms["pixels.predicted"]).item())
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    assert gaps[-1] > gaps[0] + 0.5


def test_what_has_no_pixels_and_no_bound_are_refused():
    with pytest.raises(RecipeError, match="target=Features is made of no pixels"):
        Criticised(target=Features())
    with pytest.raises(RecipeError, match="bound=0"):
        Criticised(bound=0.0)
