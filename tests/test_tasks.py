from dataclasses import replace

import pytest
import torch

from tubelet.errors import RecipeError
from tubelet.maskers import Random, RunningCell, Text, Tube
from tubelet.models import Decoder, Vit
from tubelet.models.patches import cut, gather
from tubelet.objectives import Contrast, Pixels
from tubelet.tasks import Pretraining
from tubelet.types import Batch, Clip

CLIP = Clip(frames=4, size=32, tubelet_size=8)
PIXELS = Pixels(decoder=Decoder(width=24, depth=2, heads=2))


def task_of(masker=None, text_width=12, decode=None, **objectives):
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=2, heads=4).build(CLIP)
    return Pretraining(CLIP, encoder, masker or Tube(ratio=0.5), objectives or {"pixels": PIXELS}, text_width, decode)


def batch_of(count=4, seed=0):
    random = torch.Generator().manual_seed(seed)
    numbers = torch.arange(count)
    return Batch(
        video=torch.randint(0, 256, (count, 3, 4, 32, 32), dtype=torch.uint8, generator=random),
        key=numbers * 7919 + seed,
        ids=tuple(map(str, range(count))),
        text=torch.randn(count, 12, generator=random),
        caption=numbers,
        source=numbers,
        maps={"text": torch.rand(count, CLIP.num_tubelets, generator=random)},
    )


def rows(batch, chosen):
    """Some samples of a batch, in this order."""
    names = ("video", "key", "text", "caption", "source")
    return replace(
        batch,
        ids=tuple(batch.ids[i] for i in chosen),
        maps={"text": batch.maps["text"][chosen]},
        **{name: getattr(batch, name)[chosen] for name in names},
    )


def gradients(task, batch):
    task.zero_grad()
    task(batch).loss.backward()
    return {name: p.grad.clone() for name, p in task.named_parameters() if p.grad is not None}


def test_the_loss_is_the_weighted_sum_and_the_terms_stand_beside_it():
    task = task_of(pixels=PIXELS, contrast=Contrast(weight=0.25))
    step = task(batch_of())
    assert step.loss.item() == pytest.approx(
        step.terms["pixels"].item() + 0.25 * step.terms["contrast"].item(), abs=1e-6
    )
    assert {"pixels.baseline", "pixels.flat", "contrast.accuracy", "contrast.temperature"} <= step.terms.keys()
    assert step.loss.requires_grad
    assert not any(term.requires_grad for term in step.terms.values())


def test_every_weight_takes_part_in_the_step():
    task = task_of(pixels=PIXELS, contrast=Contrast())
    assert gradients(task, batch_of()).keys() == dict(task.named_parameters()).keys()


def test_an_objective_of_weight_zero_is_neither_built_nor_computed():
    task = task_of(text_width=None, pixels=PIXELS, contrast=Contrast(weight=0.0))
    assert list(task.objectives) == ["pixels"]
    assert not task.needs_text
    assert "contrast" not in task(replace(batch_of(), text=None)).terms


def test_without_any_objective_a_task_only_encodes():
    task = task_of(pixels=Pixels(weight=0.0))
    assert list(dict(task.named_children())["objectives"]) == []
    step = task(batch_of())
    assert step.loss.item() == 0
    assert not step.loss.requires_grad


def test_a_task_says_which_maps_and_whether_captions_must_come_with_the_clips():
    assert (task_of().needs, task_of().needs_text) == ((), False)
    task = task_of(Text(), pixels=PIXELS, contrast=Contrast())
    assert (task.needs, task.needs_text) == (("text",), True)


def test_a_ratio_that_hides_nothing_is_refused_before_the_first_step():
    with pytest.raises(RecipeError, match=r"masker\.ratio"):
        task_of(Random(ratio=0.0))


def test_a_decode_mask_scores_only_its_share_of_the_hidden_and_changes_nothing_the_encoder_sees():
    batch = batch_of()
    whole, half = task_of(), task_of(decode=RunningCell(share=0.5))
    seen, part = whole.look(batch), half.look(batch)
    assert torch.equal(seen.tokens, part.tokens)
    assert part.mask.decode.shape[1] * 2 == part.mask.hidden.shape[1] == seen.mask.decode.shape[1]
    rebuilt = half.reconstruct(batch)
    error = (rebuilt.prediction - rebuilt.target.values).square().mean()
    assert half(batch).terms["pixels"].item() == pytest.approx(error.item(), abs=1e-6)


def test_a_decode_mask_that_leaves_nothing_is_refused_before_the_first_step():
    with pytest.raises(RecipeError, match=r"decode\.share"):
        task_of(decode=RunningCell(share=0.01))


def test_a_detached_head_leaves_the_gradient_of_the_encoder_exactly_as_it_was():
    batch = batch_of()
    alone = gradients(task_of(pixels=PIXELS), batch)
    observed = gradients(task_of(pixels=PIXELS, contrast=Contrast(detach=True, weight=0.0)), batch)
    assert set(observed) - set(alone) == {"objectives.contrast.video.weight", "objectives.contrast.log_excess"}
    for name, gradient in alone.items():
        assert torch.equal(observed[name], gradient), name
    nothing_else = task_of(contrast=Contrast(detach=True))
    assert not [name for name in gradients(nothing_else, batch) if name.startswith("encoder.")]


@pytest.mark.parametrize("masker", [Tube(ratio=0.5), Random(ratio=0.7), Text(ratio=0.6), Text(pick="random")])
def test_a_mask_is_a_function_of_its_clip_and_key_and_not_of_the_batch(masker):
    task, batch = task_of(masker), batch_of()
    whole, part = task.draw(batch), task.draw(rows(batch, [2, 0]))
    assert torch.equal(part.hidden, whole.hidden[[2, 0]])
    assert torch.equal(task.draw(batch).hidden, whole.hidden)


def test_another_key_draws_another_mask():
    task, batch = task_of(Random(ratio=0.5)), batch_of()
    assert not torch.equal(task.draw(replace(batch, key=batch.key + 1)).hidden, task.draw(batch).hidden)


def test_the_encoder_sees_the_visible_tubelets_and_nothing_of_the_hidden():
    task, batch = task_of(Random(ratio=0.5)), batch_of()
    seen = task.look(batch)
    tubelets = cut(batch.video, CLIP)
    mask = seen.mask
    tokens = task.encoder(gather(tubelets, mask.visible), mask.visible)
    assert torch.equal(seen.tokens, tokens)
    assert sorted((*mask.visible[0].tolist(), *mask.hidden[0].tolist())) == list(range(CLIP.num_tubelets))


def test_changing_one_clip_never_changes_what_is_predicted_for_another():
    task, batch = task_of(Random(ratio=0.5)), batch_of()
    video = batch.video.clone()
    video[1] = 255 - video[1]
    before, after = task.reconstruct(batch), task.reconstruct(replace(batch, video=video))
    others = [0, 2, 3]
    assert torch.equal(before.prediction[others], after.prediction[others])
    assert torch.equal(before.target.values[others], after.target.values[others])
    assert not torch.allclose(before.prediction[1], after.prediction[1], atol=1e-3)


def test_a_reconstruction_is_what_the_loss_was_computed_from():
    task, batch = task_of(), batch_of()
    picture, step = task.reconstruct(batch), task(batch)
    error = (picture.prediction - picture.target.values).square().mean()
    assert step.terms["pixels"].item() == pytest.approx(error.item(), abs=1e-6)
    hidden = gather(picture.seen.tubelets, picture.seen.mask.decode).float()
    torch.testing.assert_close(picture.target.pixels(picture.target.values), hidden, atol=1e-3, rtol=0)


def test_there_is_no_reconstruction_without_the_pixel_objective():
    with pytest.raises(RecipeError, match="no reconstruction"):
        task_of(contrast=Contrast()).reconstruct(batch_of())


def test_training_on_one_batch_learns_it():
    task, batch = task_of(pixels=PIXELS, contrast=Contrast()), batch_of(2)
    ramp = torch.linspace(0, 255, 32).to(torch.uint8)
    batch = replace(batch, video=torch.stack((ramp.expand(3, 4, 32, 32), ramp[:, None].expand(3, 4, 32, 32))))
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for _ in range(60):
        step = task(batch)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    assert step.terms["pixels"] < 0.5 * step.terms["pixels.baseline"]
    assert step.terms["contrast"] < 0.5 * step.terms["contrast.baseline"]
