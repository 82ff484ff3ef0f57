"""What denoising promises, and that a sample knows nothing of what is hidden."""

import math
from dataclasses import replace

import pytest
import torch

from support.tasks import DECODER, batch_of, task_of, with_other_pixels
from tubelet.errors import RecipeError
from tubelet.models import Cross
from tubelet.models.patches import gather
from tubelet.objectives import Denoise
from tubelet.objectives.denoise import kept, mixed
from tubelet.objectives.targets import Features, Raw

DECODERS = {"mask tokens": DECODER, "cross attention": Cross(width=24, depth=1, heads=2)}
every_decoder = pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)


def denoise(steps=20, samples=1, decoder=DECODER):
    task = task_of({"pixels": Denoise(steps=steps, samples=samples, target=Raw(), decoder=decoder)})
    return task, task.objectives["pixels"]


def test_with_all_of_the_variance_kept_a_hint_is_the_patch_and_with_none_of_it_the_noise():
    clean, noise = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    assert torch.equal(mixed(clean, noise, kept(torch.tensor(0.0))), clean)
    assert torch.equal(mixed(clean, noise, kept(torch.tensor(1.0))), noise)


def test_what_is_kept_falls_on_a_cosine_and_a_noised_target_keeps_its_variance():
    shares = torch.linspace(0, 1, 101)
    wanted = torch.tensor([math.cos(share * math.pi / 2) ** 2 for share in shares.tolist()])
    torch.testing.assert_close(kept(shares), wanted)
    clean, noise = torch.randn(2, 1, 1, 100_000, generator=torch.Generator().manual_seed(0)).unbind(0)
    for share in (0.1, 0.5, 0.9):
        assert mixed(clean, noise, torch.tensor(share)).var().item() == pytest.approx(1, abs=0.03)


def test_the_loss_is_that_of_a_plain_loop_over_clips_with_a_level_and_noise_of_their_own_keys():
    task, head = denoise()
    batch = batch_of()
    seen = task.look(batch)
    target = head.clean(seen)
    noise = head.noise(seen, "clip", target)
    levels, heard = [], []
    head.noised.register_forward_hook(lambda _, given, __: heard.append(given[0]))
    head.level.register_forward_hook(lambda _, given, __: levels.append(given[0]))
    loss = head(seen)
    (level,), (hints,) = levels, heard
    assert level.min() >= 1
    assert level.max() <= 20
    for number in range(len(batch)):
        share = math.cos(level[number].item() / 20 * math.pi / 2) ** 2
        hint = math.sqrt(share) * target[number] + math.sqrt(1 - share) * noise[number]
        torch.testing.assert_close(hints[number], hint, atol=1e-5, rtol=1e-5)
    predicted = head.predict(seen)
    torch.testing.assert_close(loss.value, (predicted - target).square().mean())


def test_the_noise_and_the_level_of_a_clip_are_a_function_of_its_key_alone():
    task, head = denoise()
    one, other = batch_of(4), batch_of(4, seed=5)
    noise = [head.noise(task.look(replace(other, key=one.key)), "clip", torch.zeros(4, 8, 4)) for _ in range(2)]
    assert torch.equal(*noise)
    assert torch.equal(noise[0], head.noise(task.look(one), "clip", torch.zeros(4, 8, 4)))
    last = replace(one, video=one.video[3:], key=one.key[3:], ids=one.ids[3:])
    torch.testing.assert_close(head.predict(task.look(last))[0], head.predict(task.look(one))[3])
    assert not torch.equal(noise[0][0], noise[0][1])


def test_every_level_is_drawn_about_equally_often():
    task, head = denoise(steps=4)
    levels = []
    head.level.register_forward_hook(lambda _, given, __: levels.append(given[0]))
    head.predict(task.look(batch_of(400)))
    counts = torch.bincount(levels[0], minlength=5).tolist()
    assert counts[0] == 0
    assert min(counts[1:]) > 70


def test_one_step_of_sampling_is_the_prediction_at_the_top_level():
    task, head = denoise(samples=1)
    head.eval()
    seen = task.look(batch_of())
    noise = head.noise(seen, "clip", head.clean(seen))
    assert torch.equal(head.predict(seen), head.denoised(seen, "clip", noise, torch.full((3,), 20)))


def test_sampling_follows_a_plain_loop_over_the_levels():
    task, head = denoise(samples=4)
    head.eval()
    seen = task.look(batch_of())
    x = head.noise(seen, "clip", head.clean(seen)).double()
    for level, following in ((20, 15), (15, 10), (10, 5), (5, 0)):
        now, later = (math.cos(one / 20 * math.pi / 2) ** 2 for one in (level, following))
        clean = head.denoised(seen, "clip", x.float(), torch.full((3,), level)).double()
        noise = (x - math.sqrt(now) * clean) / math.sqrt(1 - now)
        x = math.sqrt(later) * clean + math.sqrt(1 - later) * noise
    torch.testing.assert_close(head.predict(seen), x.float(), atol=1e-4, rtol=1e-4)


@every_decoder
@pytest.mark.parametrize("samples", [1, 5])
def test_a_sample_is_free_of_what_is_hidden(samples, decoder):
    task, head = denoise(samples=samples, decoder=decoder)
    task.eval()
    batch = batch_of()
    hidden = task.look(batch).mask.hidden
    other = with_other_pixels(batch, hidden)
    assert not torch.equal(gather(task.look(other).tubelets, hidden), gather(task.look(batch).tubelets, hidden))
    assert torch.equal(head.predict(task.look(batch)), head.predict(task.look(other)))
    head.train()
    assert not torch.equal(head.predict(task.look(batch)), head.predict(task.look(other)))


def test_what_has_no_pixels_and_more_samples_than_levels_are_refused():
    with pytest.raises(RecipeError, match="target=Features is made of no pixels"):
        Denoise(target=Features())
    with pytest.raises(RecipeError, match="samples=5 must be from 1 to steps=4"):
        Denoise(steps=4, samples=5)
