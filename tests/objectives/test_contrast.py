import math

import pytest
import torch

from tubelet.errors import RecipeError
from tubelet.objectives import Contrast, Sizes
from tubelet.types import Batch, Clip, Encoded, Mask

CLIP = Clip(frames=4, size=32, tubelet_size=8)


def seen_of(count=6, width=16, text_width=12, caption=None, source=None, seed=0):
    """Tokens and captions without an encoder: the contrast sees nothing else."""
    random = torch.Generator().manual_seed(seed)
    where = torch.arange(CLIP.num_tubelets).repeat(count, 1)
    numbers = torch.arange(count)
    batch = Batch(
        video=torch.zeros((count, 3, 4, 32, 32), dtype=torch.uint8),
        key=numbers,
        ids=tuple(map(str, range(count))),
        text=3 * torch.randn(count, text_width, generator=random),
        caption=numbers if caption is None else torch.tensor(caption),
        source=numbers if source is None else torch.tensor(source),
    )
    tokens = torch.randn(count, 10, width, generator=random, requires_grad=True)
    mask = Mask(visible=where[:, :10], hidden=where[:, 10:], decode=where[:, 10:])
    tubelets = torch.zeros((count, CLIP.num_tubelets, CLIP.tubelet_values), dtype=torch.uint8)
    return Encoded(CLIP, batch, mask, tubelets, tokens)


def head_of(tokens=16, text=12, **options):
    torch.manual_seed(1)
    return Contrast(**options).build(Sizes(CLIP, tokens, text))


def plain_loss(head, seen, keep):
    """Symmetric InfoNCE, pair by pair; `keep(i, j)` says whether j is a candidate for i."""
    video = torch.stack([head.video.weight @ tokens.mean(0) for tokens in seen.tokens])
    video = [v / v.norm() for v in video]
    text = [t / t.norm() for t in seen.batch.text]
    losses = []
    for i in range(len(video)):
        for own, others in ((video, text), (text, video)):
            scores = {j: own[i] @ others[j] / 0.07 for j in range(len(video)) if keep(i, j)}
            losses.append(-(scores[i] - torch.stack(list(scores.values())).logsumexp(0)))
    return torch.stack(losses).mean()


def equal_with_gradients(loss, wanted, *sources):
    torch.testing.assert_close(loss, wanted)
    for got, plain in zip(
        torch.autograd.grad(loss, sources, retain_graph=True), torch.autograd.grad(wanted, sources), strict=True
    ):
        torch.testing.assert_close(got, plain)


def test_the_loss_is_symmetric_infonce_between_clips_and_captions():
    seen, head = seen_of(), head_of()
    equal_with_gradients(head(seen).value, plain_loss(head, seen, lambda i, j: True), seen.tokens, head.video.weight)


CAPTION, SOURCE = [0, 1, 0, 2, 3, 4], [0, 1, 2, 3, 3, 5]  # clips 0 and 2 share a text, clips 3 and 4 a video


def test_equal_captions_and_captions_of_one_video_are_no_negatives_of_each_other():
    seen, head = seen_of(caption=CAPTION, source=SOURCE), head_of()

    def keep(i, j):
        return i == j or (CAPTION[i] != CAPTION[j] and SOURCE[i] != SOURCE[j])

    loss = head(seen)
    equal_with_gradients(loss.value, plain_loss(head, seen, keep), seen.tokens, head.video.weight)
    candidates = [sum(keep(i, j) for j in range(6)) for i in range(6)]
    assert candidates == [5, 6, 5, 5, 5, 6]
    assert loss.terms["contrast.baseline"].item() == pytest.approx(sum(map(math.log, candidates)) / 6)


def test_with_same_text_negative_every_other_clip_is_a_negative():
    seen, head = seen_of(caption=CAPTION, source=SOURCE), head_of(same_text="negative")
    equal_with_gradients(head(seen).value, plain_loss(head, seen, lambda i, j: True), seen.tokens)


def test_a_clip_without_any_negative_costs_nothing():
    assert head_of()(seen_of(caption=[7] * 6)).value.item() == 0


def test_clips_that_match_their_captions_are_all_found():
    seen, head = seen_of(text_width=16), head_of(text=16, temperature=0.02, floor=0.0)
    with torch.no_grad():
        head.video.weight.copy_(torch.eye(16))
        seen.batch.text.copy_(5 * seen.tokens.mean(1))
    terms = head(seen).terms
    assert terms["contrast.accuracy"].item() == 1
    assert terms["contrast"].item() < 0.01
    seen.batch.text.copy_(seen.batch.text.roll(1, 0))
    assert head(seen).terms["contrast.accuracy"].item() == 0


def test_the_loss_of_a_head_that_knows_nothing_is_the_mean_prediction_baseline():
    seen, head = seen_of(), head_of()
    seen.batch.text.copy_(seen.batch.text[:1].expand(6, -1).clone())
    with torch.no_grad():
        seen.tokens.copy_(seen.tokens[:1].expand(6, -1, -1).clone())
    terms = head(seen).terms
    assert terms["contrast"].item() == pytest.approx(math.log(6), abs=1e-5)
    assert terms["contrast.baseline"].item() == pytest.approx(math.log(6), abs=1e-5)


def test_both_sides_have_length_one_in_the_space_of_the_captions_or_in_a_joint_one():
    seen = seen_of()
    for options, width in (({}, 12), ({"width": 5}, 5)):
        head = head_of(**options)
        video, text = head.embed_video(seen.tokens), head.embed_text(seen.batch.text)
        assert video.shape == text.shape == (6, width)
        torch.testing.assert_close(video.norm(dim=-1), torch.ones(6))
        torch.testing.assert_close(text.norm(dim=-1), torch.ones(6))
    direction = seen.batch.text / seen.batch.text.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(head_of().embed_text(seen.batch.text), direction)


def test_the_temperature_starts_as_told_is_learned_and_stays_above_its_floor():
    head = head_of(temperature=0.07, floor=0.05)
    assert head(seen_of()).terms["contrast.temperature"].item() == pytest.approx(0.07, abs=1e-6)
    optimizer = torch.optim.SGD([head.log_excess], lr=1.0)
    for _ in range(100):
        optimizer.zero_grad()
        head.temperature().backward()  # straight down
        optimizer.step()
    assert 0.05 <= head.temperature().item() < 0.06
    assert [name for name, p in head.named_parameters() if p.requires_grad] == ["log_excess", "video.weight"]
    fixed = head_of(learnable=False)
    assert [name for name, p in fixed.named_parameters() if p.requires_grad] == ["video.weight"]


def test_a_detached_head_trains_the_head_and_leaves_the_tokens_alone():
    seen = seen_of()
    head, observer = head_of(), head_of(detach=True, weight=0.0)
    loss = observer(seen).value
    assert loss.item() == head(seen).value.item()
    loss.backward()
    assert seen.tokens.grad is None
    assert observer.video.weight.grad.abs().max() > 0
    assert Contrast(detach=True, weight=0.0).factor == 1
    assert Contrast(weight=0.0).factor == 0


def test_a_temperature_below_its_floor_is_refused():
    with pytest.raises(RecipeError, match=r"contrast\.floor"):
        Contrast(temperature=0.01, floor=0.02)


def test_a_negative_weight_is_refused():
    with pytest.raises(RecipeError, match="0 or more"):
        Contrast(weight=-1.0)


def test_without_caption_embeddings_the_remedy_is_named():
    with pytest.raises(RecipeError, match="tubelet align CORPUS"):
        Contrast().build(Sizes(CLIP, 16))
