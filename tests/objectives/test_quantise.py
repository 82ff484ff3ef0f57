"""What a tokenizer is trained by: codes in the place of tokens, and the gradient as if they were the tokens."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from support.tasks import CLIP, DECODER, batch_of, task_of
from tubelet.errors import RecipeError
from tubelet.maskers import Nothing, Random
from tubelet.models.patches import cut
from tubelet.objectives import Quantise
from tubelet.objectives.quantise import straight_through
from tubelet.objectives.targets import Raw
from tubelet.optim import Optim
from tubelet.streams import Stream

ALL = CLIP.num_tubelets


def quantised(masker=None, **fields):
    task = task_of({"pixels": Quantise(size=16, width=8, decoder=DECODER, **fields)}, masker or Nothing())
    return task, task.objectives["pixels"]


def test_the_gradient_of_a_code_goes_into_its_token_unchanged():
    torch.manual_seed(0)
    rows, codes, into = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    passed = straight_through(rows, codes)
    torch.testing.assert_close(passed, codes)
    passed.backward(into)
    assert torch.equal(rows.grad, into)


@pytest.mark.parametrize("masker", [Nothing(), Random(ratio=0.5)], ids=str)
def test_every_tubelet_is_decoded_from_the_codes_of_the_visible_alone(masker):
    task, head = quantised(masker, target=Raw(), commitment=0.0)
    batch = batch_of()
    seen = head.asks(task.look(batch))
    assert seen.mask.decode.tolist() == [list(range(ALL))] * 3
    codes = head.codebook.codes[head.codebook(seen.tokens)[1]]
    prediction = head.decoder(head.out(codes), seen.mask.visible, seen.mask.decode)
    torch.testing.assert_close(head.predict(seen), prediction)
    true = Raw().standardise(cut(batch.video, CLIP), seen.mask.decode, CLIP).values
    torch.testing.assert_close(task(batch).loss, (prediction - true).square().mean())
    assert task.reconstruct(batch).prediction.shape[1] == ALL


def test_a_reconstruction_of_a_part_is_of_that_part():
    """What fills a hole asks for the hole alone."""
    task, head = quantised(Random(ratio=0.5))
    seen = task.look(batch_of())
    assert head.predict(seen).shape[1] == ALL // 2


def test_commitment_and_perplexity_are_those_of_a_plain_loop():
    task, head = quantised(commitment=0.5)
    batch = batch_of()
    step = task(batch)
    rows, numbers = head.codebook(task.look(batch).tokens)
    distances, counts = [], np.zeros(16)
    for row, number in zip(rows.flatten(0, 1).detach().numpy(), numbers.flatten().tolist(), strict=True):
        distances.append(((row - head.codebook.codes[number].numpy()) ** 2).sum())
        counts[number] += 1
    share = counts[counts > 0] / counts.sum()
    assert step.terms["pixels.commitment"].item() == pytest.approx(np.mean(distances), rel=1e-5)
    assert step.terms["pixels.perplexity"].item() == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-5)
    assert step.loss.item() == pytest.approx(step.terms["pixels"].item() + 0.5 * np.mean(distances), rel=1e-5)


def test_codes_take_no_gradient_and_move_after_a_step_of_training_alone():
    task, head = quantised(decay=0.5, patience=1)
    assert "objectives.pixels.codebook.codes" not in dict(task.named_parameters())
    first = head.codebook.codes.clone()
    task.eval()(batch_of())
    task.after_step()
    assert torch.equal(head.codebook.codes, first)
    optimizer = Optim().build(task.train())
    task(batch_of()).loss.backward()
    assert torch.equal(head.codebook.codes, first)
    optimizer.step()
    assert not torch.equal(head.codebook.codes, first)


def test_a_clips_spare_token_is_its_own_and_drawn_by_its_key():
    task, head = quantised()
    batch = batch_of()

    def spare(batch):
        task(batch)
        return head.codebook.spare

    whole, rows = spare(batch), head.codebook(task.look(batch).tokens)[0]
    assert all((own == one).all(-1).any() for own, one in zip(rows, whole, strict=True))
    part = replace(batch, video=batch.video[1:], key=batch.key[1:], ids=batch.ids[1:])
    torch.testing.assert_close(spare(part), whole[1:])
    other = spare(replace(batch, key=batch.key + 1))
    assert not torch.equal(other, whole)


def test_a_codebook_in_use_by_one_code_comes_to_use_more():
    task, head = quantised(patience=2)
    head.codebook.codes = head.codebook.codes[:1].repeat(16, 1)
    assert task(batch_of()).terms["pixels.perplexity"] == 1
    optimizer = Optim(base_lr=1e-3).build(task)
    for seed in range(12):
        task(batch_of(seed=seed)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert task(batch_of()).terms["pixels.perplexity"] > 4


def test_several_streams_have_one_codebook():
    task = task_of(
        {"pixels": Quantise(size=16, width=8, decoder=DECODER, on=("clip", "second"))},
        Nothing(),
        {"second": Stream(masker=Random(ratio=0.5))},
    )
    batch, head = batch_of(streams={"second": CLIP}), task.objectives["pixels"]
    step, seen = task(batch), head.asks(task.look(batch))
    assert [seen.of(name).mask.decode.shape[1] for name in head.config.on] == [ALL, ALL]
    assert torch.isfinite(step.loss)
    assert head.codebook.counts.sum() == 3 * (ALL + ALL // 2)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(RecipeError, match="size, width and patience"):
        Quantise(size=0)
    with pytest.raises(RecipeError, match=r"decay=1\.5"):
        Quantise(decay=1.5)
