"""Few-shot episodes: equal to a plain loop, apart by group, the same for every encoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations import Context, Features, FewShot
from tubelet.evaluations.few_shot import draw_episodes, play


def made_up(count: int, classes: int, per_group: int = 1, apart: float = 2.0, seed: int = 0) -> Features:
    rng = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 6, generator=torch.Generator().manual_seed(9))
    label = torch.arange(count) // per_group % classes
    mean = torch.randn(count, 6, generator=rng) + apart * centres[label]
    return Features(
        mean=mean, temporal_concat=mean, label=label, ids=tuple(f"{seed}-{i}" for i in range(count)),
        groups=tuple(f"{seed}-{i // per_group}" for i in range(count)), classes=tuple("abcdefgh"[:classes]),
    )  # fmt: skip


def test_the_accuracy_is_that_of_a_loop_over_nearest_class_means():
    support, queries = made_up(60, 6), made_up(90, 6, seed=1)
    plan = draw_episodes(support, queries, FewShot(ways=4, queries=5, episodes=20), shots=3, seed=0)
    right, asked, _ = play(plan, support, queries, "mean")
    x, y = support.mean.double().numpy(), queries.mean.double().numpy()
    unit = lambda v: v / np.linalg.norm(v)  # noqa: E731
    hits, total = 0, 0
    for shots, rows, classes in zip(plan.shots, plan.queries, plan.classes, strict=True):
        prototypes = [np.mean([unit(x[i] - x.mean(0)) for i in row], axis=0) for row in shots]
        for row, actual in zip(rows, classes, strict=True):
            said = max(range(4), key=lambda c: unit(y[row] - x.mean(0)) @ unit(prototypes[c]))
            hits, total = hits + (said == actual), total + 1
    assert (right.sum(), asked.sum()) == (hits, total)
    assert total == 20 * 4 * 5


def test_every_episode_has_its_ways_shots_and_queries_of_the_right_classes():
    support, queries = made_up(60, 6), made_up(90, 6, seed=1)
    plan = draw_episodes(support, queries, FewShot(ways=5, queries=4, episodes=30), shots=2, seed=0)
    seen = set()
    for shots, rows, classes in zip(plan.shots, plan.queries, plan.classes, strict=True):
        labels = support.label[shots].numpy()
        assert shots.shape == (5, 2)
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == 5
        assert (queries.label[rows].numpy() == labels[:, 0][classes]).all()
        assert len(set(shots.ravel().tolist())) == 10
        seen |= set(labels[:, 0].tolist())
    assert seen == set(range(6))


def test_within_one_split_no_group_is_shown_and_asked():
    clips = made_up(72, 4, per_group=3)
    plan = draw_episodes(clips, clips, FewShot(ways=4, queries=6, episodes=40, support="test"), shots=4, seed=0)
    groups = np.array(clips.groups)
    for shots, rows in zip(plan.shots, plan.queries, strict=True):
        assert len(rows) >= 4
        assert not set(groups[shots.ravel()]) & set(groups[rows])


def test_all_encoders_are_asked_the_same_and_another_seed_other_episodes():
    one, other = made_up(60, 6), made_up(60, 6, apart=0.0)
    queries = made_up(90, 6, seed=1)
    asked = ((one, 0), (other, 0), (one, 1))
    first, second, third = (
        draw_episodes(support, queries, FewShot(episodes=5), shots=1, seed=seed) for support, seed in asked
    )
    assert all((a == b).all() for a, b in zip(first.shots, second.shots, strict=True))
    assert not all((a == b).all() for a, b in zip(first.shots, third.shots, strict=True))


def run(settings: FewShot, train: Features, test: Features, small, clip, data) -> dict:
    labels = {i: "abcdefgh"[n] for part in (train, test) for i, n in zip(part.ids, part.label.tolist(), strict=True)}
    computed = {"train": train, "test": test}
    return settings.run(Context(torch.nn.Identity(), small, clip, data, labels=labels, computed=computed))


def test_more_shots_are_better_and_too_many_are_said(small, clip, data):
    train, test = made_up(60, 6, apart=0.7), made_up(120, 6, apart=0.7, seed=1)
    result = run(FewShot(shots=(1, 5, 11), episodes=100, samples=100), train, test, small, clip, data)
    assert result.metrics["5way_1shot.mean.accuracy"].value < result.metrics["5way_5shot.mean.accuracy"].value
    assert result.metrics["5way_1shot.mean.accuracy"].chance == 0.2
    assert result.notes[0].startswith("11 shots are not measured")
    assert set(result.details["5way_1shot.mean"]["per_class"]) == set("abcdef")


def test_with_fewer_classes_than_ways_all_are_taken_and_the_name_says_so(small, clip, data):
    result = run(FewShot(episodes=10, samples=50), made_up(40, 2), made_up(40, 2, seed=1), small, clip, data)
    assert "2way_5shot.temporal_concat.accuracy" in result.metrics
    assert result.metrics["2way_5shot.temporal_concat.accuracy"].chance == 0.5


def test_where_every_query_is_of_the_supports_group_nothing_is_measured_and_that_is_said(small, clip, data):
    train, test = made_up(4, 2), made_up(6, 2, seed=1)
    train, test = (replace(part, groups=tuple(f"{int(c)}" for c in part.label)) for part in (train, test))
    with pytest.raises(CorpusError, match="every query is of a group of its episode's support"):
        run(FewShot(shots=(1,), episodes=3), train, test, small, clip, data)


def test_what_cannot_be_is_refused_in_one_line(small, clip, data):
    with pytest.raises(RecipeError, match="ways of at least 2"):
        FewShot(ways=1)
    with pytest.raises(CorpusError, match="5 shots are not measured"):
        run(FewShot(shots=(5,)), made_up(8, 4), made_up(8, 4, seed=1), small, clip, data)
