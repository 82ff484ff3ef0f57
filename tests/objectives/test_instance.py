"""The contrast of two views, against loops of ten lines over pairs."""

import math

import pytest
import torch

from support.views import SIZE, WIDTH, views_of
from tubelet.errors import RecipeError
from tubelet.objectives import InBatch, InstanceContrast, Nearest, Queue, Sizes

TAU = 0.1


def head_of(extra=(), taught=(), **options):
    torch.manual_seed(1)
    streams = {
        name: Sizes(SIZE, WIDTH, teacher=Sizes(SIZE, WIDTH) if name in taught else None) for name in ("second", *extra)
    }
    return InstanceContrast(hidden=24, width=8, **options).build(Sizes(SIZE, WIDTH, streams=streams, name="views"))


def rows(head, seen):
    """Unit rows, clip by clip."""
    return [head(tokens.mean(0)) / head(tokens.mean(0)).norm() for tokens in seen.tokens]


def cost(query, positive, negatives):
    scores = torch.stack([query @ positive, *(query @ row for row in negatives)]) / TAU
    return -(scores[0] - scores.logsumexp(0))


def nt_xent(head, seen, source):
    """All 2B views; the partner is found among all views of other videos."""
    views = rows(head.project, seen) + rows(head.project, seen.of("second"))
    videos, count, losses = [*source, *source], len(source), []
    for i, query in enumerate(views):
        partner = (i + count) % (2 * count)
        negatives = [views[j] for j in range(2 * count) if videos[j] != videos[i]]
        losses.append(cost(query, views[partner], negatives))
    return torch.stack(losses).mean()


def equal_with_gradients(loss, wanted, *sources):
    torch.testing.assert_close(loss, wanted)
    for got, plain in zip(
        torch.autograd.grad(loss, sources, retain_graph=True),
        torch.autograd.grad(wanted, sources, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(got, plain)


@pytest.mark.parametrize("source", [[0, 1, 2, 3, 4], [0, 1, 0, 2, 1]])
def test_of_a_student_it_is_nt_xent_over_both_views_of_all_clips(source):
    seen, head = views_of(source=source), head_of()
    loss = head(seen)
    weights = list(head.parameters())
    equal_with_gradients(loss.value, nt_xent(head, seen, source), seen.tokens, seen.of("second").tokens, *weights)
    candidates = [1 + sum(2 for other in source if other != video) for video in source]
    assert loss.terms["views.baseline"].item() == pytest.approx(sum(map(math.log, candidates)) / 5, abs=1e-6)


def test_of_distinct_videos_the_baseline_is_the_log_of_2b_minus_1_candidates():
    assert head_of()(views_of()).terms["views.baseline"].item() == pytest.approx(math.log(9), abs=1e-6)


def test_views_of_one_video_alone_have_nobody_to_be_told_from_and_cost_nothing():
    assert head_of()(views_of(source=[7] * 5)).value.item() == 0


def test_clips_that_say_nothing_cost_the_baseline_and_equal_views_are_all_found():
    seen, head = views_of(), head_of()
    with torch.no_grad():
        seen.of("second").tokens.copy_(seen.tokens)
    assert head(seen).terms["views.accuracy"].item() == 1
    with torch.no_grad():
        for one in (seen, seen.of("second")):
            one.tokens.copy_(seen.tokens[:1].expand(5, -1, -1).clone())
    terms = head(seen).terms
    assert terms["views"].item() == pytest.approx(terms["views.baseline"].item(), abs=1e-5)


def test_swapping_the_views_changes_nothing():
    seen = views_of()
    swapped, there = head_of(of=("second", "clip")), head_of()
    torch.testing.assert_close(swapped(seen).value, there(seen).value, rtol=0, atol=1e-6)
    for term in ("views.baseline", "views.accuracy"):
        assert swapped(seen).terms[term].item() == pytest.approx(there(seen).terms[term].item(), abs=1e-6)


@pytest.mark.parametrize("negatives", [InBatch(), Queue(size=8)])
def test_against_a_teacher_each_first_view_finds_its_key_among_the_keys_and_the_queue(negatives):
    head = head_of(taught=("second",), by="teacher", negatives=negatives)
    queue = []
    for step in range(4):  # the queue overflows: 4 x 5 keys
        source = [step, 10, 11, 12, 13 + step]  # three videos come again in every step
        seen = views_of(seed=step, source=source, taught=("second",))
        keys = rows(head.keys.model, seen.of("second").teacher)
        candidates = [*zip(keys, source, strict=True), *queue]
        wanted = torch.stack(
            [
                cost(query, keys[i], [row for row, video in candidates if video != source[i]])
                for i, query in enumerate(rows(head.project, seen))
            ]
        ).mean()
        loss = head(seen)
        equal_with_gradients(loss.value, wanted, seen.tokens, *head.project.parameters())
        queue = [*queue, *zip(keys, source, strict=True)][-8:] if isinstance(negatives, Queue) else []
        torch.optim.SGD(head.project.parameters(), lr=0.1).step()
        head.after_step()


def test_the_key_side_has_no_gradient():
    head = head_of(taught=("second",), by="teacher", negatives=Queue(size=8))
    seen = views_of(taught=("second",))
    head(seen).value.backward()
    assert seen.tokens.grad.abs().max() > 0
    assert seen.of("second").teacher.tokens.grad is None
    assert seen.of("second").tokens.grad is None
    assert all(parameter.grad is None for parameter in head.keys.parameters())
    assert all(parameter.grad.abs().max() > 0 for parameter in head.project.parameters())


def test_the_queue_holds_the_last_keys_in_order_and_goes_on_from_a_checkpoint_bit_for_bit():
    def step(head, number):
        seen = views_of(seed=10 * number, source=[5 * number + i for i in range(5)], taught=("second",))
        keys = torch.stack(rows(head.keys.model, seen.of("second").teacher))
        return head(seen).value, keys

    head = head_of(taught=("second",), by="teacher", negatives=Queue(size=12))
    keys = torch.cat([step(head, number)[1] for number in range(4)])
    torch.testing.assert_close(head.negatives.rows, keys[-12:])
    assert head.negatives.numbers.tolist() == [*range(8, 20)]
    resumed = head_of(taught=("second",), by="teacher", negatives=Queue(size=12))
    resumed.load_state_dict({name: value.clone() for name, value in head.state_dict().items()})
    for number in range(4, 7):
        assert torch.equal(step(head, number)[0], step(resumed, number)[0])
    assert torch.equal(head.negatives.rows, resumed.negatives.rows)


def test_a_queue_that_is_not_full_counts_what_is_in_it():
    head = head_of(taught=("second",), by="teacher", negatives=Queue(size=100))
    for step, candidates in enumerate((5, 10, 15)):
        seen = views_of(source=[5 * step + i for i in range(5)], taught=("second",))
        assert head(seen).terms["views.baseline"].item() == pytest.approx(math.log(candidates), abs=1e-6)


def test_measuring_leaves_the_queue_as_it_is():
    head = head_of(taught=("second",), by="teacher", negatives=Queue(size=8)).eval()
    head(views_of(taught=("second",)))
    assert head.negatives.filled.item() == 0


def test_a_key_never_meets_its_own_copy_as_a_negative():
    """Of one clip, step after step, the queue knows nothing but copies: there is nobody to be told from."""
    head = head_of(taught=("second",), by="teacher", negatives=Queue(size=64))
    assert [head(views_of(count=1, taught=("second",))).value.item() for _ in range(3)] == [0, 0, 0]
    assert head.negatives.filled.item() == 3


def test_a_partner_gives_way_to_its_nearest_neighbour_in_the_bank():
    head = head_of(negatives=Nearest(size=7), predictor=True)
    bank = []
    for step in range(3):
        seen = views_of(seed=step)
        a, b = rows(head.project, seen), rows(head.project, seen.of("second"))
        keys = [[row.detach() for row in view] for view in (b, a)]
        losses = []
        for view, partners in zip((seen, seen.of("second")), keys, strict=True):
            near = [max(bank, key=lambda row, one=one: float(row @ one)) if bank else one for one in partners]
            for i, tokens in enumerate(view.tokens):
                query = head.predict(head.project(tokens.mean(0)))
                others = [row for row in near if not torch.equal(row, near[i])]
                losses.append(cost(query / query.norm(), near[i], others))
        loss = head(seen)
        equal_with_gradients(loss.value, torch.stack(losses).mean(), seen.tokens, *head.predict.parameters())
        bank = [*bank, *keys[0]][-7:]


def test_streams_of_the_same_clip_are_one_further_negative_each():
    seen, head = views_of(extra=("mixed", "still")), head_of(extra=("mixed", "still"), against=("mixed", "still"))
    a, b = rows(head.project, seen), rows(head.project, seen.of("second"))
    further = [rows(head.project, seen.of(name)) for name in ("mixed", "still")]
    losses = [
        cost(
            ours[i],
            theirs[i],
            [row for j in range(5) if j != i for row in (ours[j], theirs[j])] + [some[i] for some in further],
        )
        for ours, theirs in ((a, b), (b, a))
        for i in range(5)
    ]
    loss = head(seen)
    equal_with_gradients(loss.value, torch.stack(losses).mean(), seen.tokens, seen.of("mixed").tokens)
    assert loss.terms["views.baseline"].item() == pytest.approx(math.log(11), abs=1e-6)


def test_the_key_s_head_is_the_running_average_of_the_query_s():
    head = head_of(taught=("second",), by="teacher", decay=0.05)
    before = [parameter.clone() for parameter in head.keys.model.parameters()]
    with torch.no_grad():
        for parameter in head.project.parameters():
            parameter.add_(1.0)
    head.after_step()
    for old, new, followed in zip(before, head.keys.model.parameters(), head.project.parameters(), strict=True):
        torch.testing.assert_close(new, 0.05 * old + 0.95 * followed)


@pytest.mark.parametrize(
    "wrong",
    [{"of": ("clip", "clip")}, {"against": ("second",)}, {"temperature": 0.0}, {"layers": 0}, {"decay": 2.0}],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(RecipeError):
        InstanceContrast(**wrong)


def test_streams_of_different_widths_are_refused_by_name():
    sizes = Sizes(SIZE, WIDTH, streams={"second": Sizes(SIZE, 8)}, name="views")
    with pytest.raises(RecipeError, match=r"objectives\.views: one MLP reads clip, second.* 16, 8"):
        InstanceContrast().build(sizes)


def test_embeddings_are_compared_at_length_one_whatever_the_scale_of_the_head():
    seen, head = views_of(), head_of()
    before = head(seen).value.item()
    with torch.no_grad():
        head.project[-1].weight.mul_(7)
    assert head(seen).value.item() == pytest.approx(before, abs=1e-5)


def test_shuffled_is_the_cost_with_another_clip_of_the_step_in_the_partners_place():
    source = [0, 1, 0, 2, 1]
    seen, head = views_of(source=source, taught=("second",)), head_of(taught=("second",), by="teacher")
    queries, keys = rows(head.project, seen), rows(head.keys.model, seen.of("second").teacher)
    costs = []
    for i, query in enumerate(queries):
        others = [j for j in range(5) if source[j] != source[i]]
        scores = torch.stack([query @ keys[j] for j in (i, *others)]) / TAU
        costs.append(torch.stack([scores.logsumexp(0) - query @ keys[j] / TAU for j in others]).mean())
    assert head(seen).terms["views.shuffled"].item() == pytest.approx(torch.stack(costs).mean().item(), rel=1e-5)
    alone, head = views_of(count=1, taught=("second",)), head_of(taught=("second",), by="teacher")
    assert head(alone).terms["views.shuffled"].item() == pytest.approx(0, abs=1e-6)


def test_keys_of_another_age_cost_nothing_though_no_clip_is_told_from_another():
    """Why a queue's loss may begin far below its baseline and rise: it says so in NAME.shuffled, which is no higher."""
    seen, head = views_of(taught=("second",)), head_of(taught=("second",), by="teacher", negatives=Queue(size=64))
    for module in (head.project[-1], head.keys.model[-1]):
        torch.nn.init.zeros_(module.weight)
        module.bias = torch.nn.Parameter(torch.ones(8))
    memory = head.negatives
    opposite = -torch.ones(64, 8) / 8**0.5
    memory.rows.copy_(opposite)
    memory.numbers.copy_(torch.arange(64) + 100)
    memory.filled.fill_(64)
    terms = head(seen).terms
    assert terms["views.baseline"].item() == pytest.approx(math.log(69))
    assert terms["views"].item() == pytest.approx(math.log(5), abs=1e-4)
    assert terms["views.shuffled"].item() == pytest.approx(terms["views"].item(), abs=1e-4)
