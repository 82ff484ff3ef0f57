"""The divergence, the samples, and what is left without them."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from support.tasks import DECODER, batch_of, task_of
from tubelet.errors import RecipeError
from tubelet.objectives import Predict, Variational
from tubelet.objectives.variational import kl
from tubelet.types import Encoded, Mask


def variational(beta=1e-3):
    task = task_of({"pixels": Variational(beta=beta, decoder=DECODER)})
    return task, task.objectives["pixels"]


def test_a_standard_normal_diverges_by_nothing_from_itself_and_others_as_torch_says():
    assert kl(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)) == 0
    middle, log_variance = torch.randn(2, 2, 3, 4).unbind(0)
    wanted = kl_divergence(Normal(middle, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(-1).mean()
    torch.testing.assert_close(kl(middle, log_variance), wanted)


def test_the_loss_adds_beta_times_the_divergence_and_logs_it():
    task, head = variational(beta=0.25)
    seen = task.look(batch_of())
    loss = head(seen)
    divergence = kl(*head.moments(seen))
    torch.testing.assert_close(loss.value.detach(), loss.terms["pixels"] + 0.25 * divergence.detach())
    torch.testing.assert_close(loss.terms["pixels.kl"], divergence.detach())


def test_noise_is_a_function_of_the_key_and_gone_after_training():
    task, head = variational()
    batch = batch_of(4)
    seen = task.look(batch)
    assert torch.equal(head.predict(seen), head.predict(seen))
    last = replace(batch, video=batch.video[3:], key=batch.key[3:], ids=batch.ids[3:])
    torch.testing.assert_close(head.predict(task.look(last))[0], head.predict(seen)[3])
    rekeyed = replace(seen, batch=replace(batch, key=batch.key + 1))
    assert not torch.equal(head.predict(seen), head.predict(rekeyed))
    head.eval()
    assert torch.equal(head.predict(seen), head.predict(rekeyed))


def test_samples_have_the_mean_and_the_variance_of_their_token():
    task, head = variational()
    seen = task.look(batch_of(1))
    where, visible = seen.mask.decode.expand(2000, -1), seen.mask.visible.expand(2000, -1)
    many = Encoded(
        seen.clip,
        replace(batch_of(1), video=seen.batch.video.expand(2000, -1, -1, -1, -1), key=torch.arange(2000)),
        Mask(visible=visible, hidden=where, decode=where),
        seen.tubelets.expand(2000, -1, -1),
        seen.tokens.expand(2000, -1, -1),
    )
    heard = []
    head.decoder.register_forward_pre_hook(lambda _, given: heard.append(given[0].detach()))
    with torch.no_grad():
        head.predict(many)
    (samples,), (middle, log_variance) = heard, head.moments(seen)
    deviation = (log_variance / 2).exp()[0]
    assert ((samples.mean(0) - middle[0]).abs() / deviation).max() < 5 / 2000**0.5
    assert (samples.std(0) / deviation - 1).abs().max() < 0.1


def test_without_beta_and_noise_it_predicts_what_predict_does():
    task, head = variational(beta=0.0)
    plain_task = task_of({"pixels": Predict(decoder=DECODER)})
    with torch.no_grad():
        head.posterior.bias.zero_()
        head.posterior.weight.copy_(torch.cat([torch.eye(32), torch.zeros(32, 32)]))
    plain_task.objectives["pixels"].decoder.load_state_dict(head.decoder.state_dict())
    head.eval()
    step, plain = task(batch_of()), plain_task(batch_of())
    torch.testing.assert_close(step.loss, plain.loss)
    torch.testing.assert_close(step.terms["pixels.baseline"], plain.terms["pixels.baseline"])


def test_a_beta_below_zero_is_refused():
    with pytest.raises(RecipeError, match="beta=-1 must be 0 or more"):
        Variational(beta=-1.0)
