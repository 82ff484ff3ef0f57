"""What a student learns of a teacher's tokens, and of its whole clip."""

import numpy as np
import pytest
import torch

from support.small_tasks import batch_of, recipe_of, small, task_of
from tubelet.objectives import DistilGlobal, DistilTokens
from tubelet.objectives.targets import Features


def of(objective):
    config = recipe_of({"mine": objective})
    task, batch = task_of(config), batch_of(config)
    return task, batch, task.look(batch)


def test_tokens_are_compared_with_the_teachers_at_the_same_visible_positions():
    task, _, seen = of(small(DistilTokens))
    head = task.objectives["mine"]
    said = head.head(seen.tokens).detach().numpy()
    wanted = []
    for i, j in np.ndindex(*seen.mask.visible.shape):
        one, other = said[i, j], seen.teacher.tokens[i, seen.mask.visible[i, j]].numpy()
        wanted.append(2 - 2 * one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    loss = head(seen)
    assert loss.value.item() == pytest.approx(np.mean(wanted), rel=1e-4)
    assert loss.per_token_loss is None, "no hidden tubelet has a loss of its own"


@pytest.mark.parametrize("target", [Features(normalise=False, loss="cosine"), Features(normalise=False)])
def test_a_student_that_says_what_the_teacher_says_has_no_loss(target):
    task, _, seen = of(DistilTokens(target=target))
    head = task.objectives["mine"]
    head.head = torch.nn.Identity()
    with torch.no_grad():
        everywhere = task.teacher.tokens(seen.batch.video, seen.clip, "clip")
    tokens = torch.stack([row[index] for row, index in zip(everywhere, seen.mask.visible, strict=True)])
    assert head(type(seen)(**{**vars(seen), "tokens": tokens})).value.item() == pytest.approx(0, abs=1e-6)


def test_what_is_hidden_plays_no_part_in_the_loss_of_tokens():
    task, _, seen = of(small(DistilTokens))
    changed = seen.teacher.tokens.clone()
    for row, hidden in zip(changed, seen.mask.hidden, strict=True):
        row[hidden] += 1
    other = type(seen)(**{**vars(seen), "teacher": type(seen)(**{**vars(seen.teacher), "tokens": changed})})
    head = task.objectives["mine"]
    assert torch.equal(head(other).value, head(seen).value)


def test_the_whole_clip_is_compared_with_the_mean_of_the_teachers_tokens():
    task, _, seen = of(small(DistilGlobal))
    head = task.objectives["mine"]
    said, whole = head.embed(seen.tokens).detach().numpy(), seen.teacher.tokens.mean(1).numpy()
    unit = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    said /= np.linalg.norm(said, axis=1, keepdims=True)
    loss = head(seen)
    assert loss.value.item() == pytest.approx(np.mean(1 - (said * unit).sum(1)), rel=1e-4)
    mean = unit.mean(0) / np.linalg.norm(unit.mean(0))
    assert loss.terms["mine.baseline"].item() == pytest.approx(np.mean(1 - unit @ mean), rel=1e-3, abs=1e-6)
    for part, rows in (("output", said), ("target", unit)):
        std = rows.std(0).mean() * rows.shape[1] ** 0.5
        assert loss.terms[f"mine.{part}.std"].item() == pytest.approx(std, rel=1e-3)


def test_pooling_weighs_every_visible_token_whatever_their_order():
    task, _, seen = of(small(DistilGlobal))
    head = task.objectives["mine"]
    shuffled = seen.tokens[:, torch.randperm(seen.tokens.shape[1])]
    torch.testing.assert_close(head.embed(shuffled), head.embed(seen.tokens))


@pytest.mark.parametrize("objective", [DistilTokens(), DistilGlobal()], ids=lambda one: type(one).__name__)
def test_training_on_one_batch_learns_it(objective):
    config = recipe_of({"mine": objective}, teacher=None)
    task, batch = task_of(config), batch_of(config)
    task.teacher.after_step = lambda *_: None  # else it follows
    first = task(batch).terms["mine"].item()
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        task(batch).loss.backward()
        optimizer.step()
    assert task(batch).terms["mine"].item() < 0.5 * first
