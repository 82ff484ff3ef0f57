"""Predicting one view's embedding from another, against a loop over clips."""

import pytest
import torch

from support.views import SIZE, WIDTH, views_of
from tubelet.errors import RecipeError
from tubelet.objectives import Regress, Sizes
from tubelet.types import CLIP

BOTH = (CLIP, "second")


def head_of(widths=(WIDTH, WIDTH), taught=(), **options):
    torch.manual_seed(1)
    teacher = {name: Sizes(SIZE, WIDTH) if name in taught else None for name in BOTH}
    second = Sizes(SIZE, widths[1], teacher=teacher["second"])
    sizes = Sizes(SIZE, widths[0], streams={"second": second}, teacher=teacher[CLIP], name="views")
    return Regress(hidden=24, width=8, **options).build(sizes)


def unit(row):
    return row / row.norm()


def plain(sides):
    """Of (predictor, projector of the view, view, projector of the target, target): clip by clip."""
    losses = []
    for predict, project, view, other, wanted in sides:
        for tokens, target in zip(view.tokens, wanted.tokens, strict=True):
            predicted = unit(predict(project(tokens.mean(0))))
            losses.append(2 - 2 * predicted @ unit(other(target.mean(0)).detach()))
    return torch.stack(losses).mean()


def equal_with_gradients(loss, wanted, *sources):
    torch.testing.assert_close(loss, wanted)
    for got, expected in zip(
        torch.autograd.grad(loss, sources, retain_graph=True), torch.autograd.grad(wanted, sources), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_byol_each_view_predicts_what_the_teacher_makes_of_the_other():
    seen, head = views_of(taught=BOTH), head_of(taught=BOTH)
    keys, predict, project = head.keys.model["both"], head.predicts["both"], head.projects["both"]
    second = seen.of("second")
    wanted = plain([(predict, project, seen, keys, second.teacher), (predict, project, second, keys, seen.teacher)])
    loss = head(seen).value
    equal_with_gradients(loss, wanted, seen.tokens, second.tokens, *project.parameters(), *predict.parameters())


def test_one_way_reads_no_more_than_the_clip_and_the_teacher_s_second_view():
    config = Regress(both=False)
    assert (config.streams, config.taught) == ((CLIP,), ("second",))
    seen, head = views_of(taught=("second",)), head_of(taught=("second",), both=False)
    keys, predict, project = head.keys.model["both"], head.predicts["both"], head.projects["both"]
    wanted = plain([(predict, project, seen, keys, seen.of("second").teacher)])
    equal_with_gradients(head(seen).value, wanted, seen.tokens)


def test_brave_two_encoders_of_different_widths_each_predict_the_other():
    seen = views_of()
    narrow = views_of(seed=50)
    tokens = narrow.of("second").tokens[..., :12].detach().requires_grad_()
    object.__setattr__(seen.of("second"), "tokens", tokens)
    head = head_of(widths=(WIDTH, 12), by="student", own_heads=True)
    second = seen.of("second")
    (p, q), (f, g) = head.predicts.values(), head.projects.values()
    wanted = plain([(p, f, seen, g, second), (q, g, second, f, seen)])
    equal_with_gradients(head(seen).value, wanted, seen.tokens, tokens, *g.parameters())


@pytest.mark.parametrize("by", ["student", "teacher"])
def test_the_side_that_is_predicted_has_no_gradient(by):
    taught = BOTH if by == "teacher" else ()
    seen, head = views_of(taught=taught), head_of(taught=taught, by=by, both=False)
    head(seen).value.backward()
    assert seen.tokens.grad.abs().max() > 0
    assert seen.of("second").tokens.grad is None
    if by == "teacher":
        assert seen.of("second").teacher.tokens.grad is None
        assert all(parameter.grad is None for parameter in head.keys.parameters())


def test_with_both_ways_swapping_the_views_changes_nothing():
    seen = views_of(taught=BOTH)
    there, back = head_of(taught=BOTH), head_of(taught=BOTH, of=("second", CLIP))
    assert there(seen).value.item() == pytest.approx(back(seen).value.item(), abs=1e-6)


def test_the_baseline_predicts_the_mean_of_all_clips():
    seen, head = views_of(taught=BOTH), head_of(taught=BOTH, both=False)
    keys = [unit(head.keys.model["both"](tokens.mean(0))).detach() for tokens in seen.of("second").teacher.tokens]
    middle = unit(sum(keys))
    wanted = sum(2 - 2 * float(middle @ one) for one in keys) / 5
    assert head(seen).terms["views.baseline"].item() == pytest.approx(wanted, abs=1e-5)


def test_a_perfect_prediction_costs_nothing_and_the_opposite_4():
    seen, head = views_of(), head_of(by="student")
    head.predicts["both"] = torch.nn.Identity()
    with torch.no_grad():
        seen.of("second").tokens.copy_(seen.tokens)
    assert head(seen).value.item() == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        head.predicts["both"] = torch.nn.Linear(8, 8, bias=False)
        head.predicts["both"].weight.copy_(-torch.eye(8))
    assert head(seen).value.item() == pytest.approx(4, abs=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"of": (CLIP, CLIP)}, {"own_heads": True, "both": False}, {"layers": 0}, {"decay": -1.0}, {"centre": 2.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(RecipeError):
        Regress(**wrong)


def test_one_mlp_for_two_widths_is_refused_with_the_remedy():
    with pytest.raises(RecipeError, match=r"objectives\.views\.own_heads=True"):
        head_of(widths=(WIDTH, 12), by="student")


def test_centred_the_targets_are_less_their_running_mean_of_earlier_steps():
    seen, head = views_of(taught=BOTH), head_of(taught=BOTH, both=False, centre=0.75)
    keys = head.keys.model["both"]
    made = torch.stack([keys(tokens.mean(0)) for tokens in seen.of("second").teacher.tokens]).detach()
    first, second = (head(seen).value for _ in range(2))
    predicted = [unit(head.predicts["both"](head.projects["both"](tokens.mean(0)))) for tokens in seen.tokens]

    def cost(mean):
        pairs = zip(predicted, made - mean, strict=True)
        return torch.stack([2 - 2 * one @ unit(other) for one, other in pairs]).mean()

    torch.testing.assert_close(first, cost(0))
    torch.testing.assert_close(second, cost(0.25 * made.mean(0)))
    kept = (0.25 + 0.75 * 0.25) * made.mean(0)
    torch.testing.assert_close(head.state_dict()["mean_both"], kept)
    head.eval()
    torch.testing.assert_close(head(seen).value, cost(kept))
    torch.testing.assert_close(head.state_dict()["mean_both"], kept)


def test_what_all_targets_have_in_common_is_no_prediction_of_them_once_they_are_centred():
    """A clip's share of its embedding is small, as of an MLP without batch norm: centred, it is all that counts."""
    seen = views_of(taught=BOTH)
    baselines = {}
    for centre in (None, 0.0):
        head = head_of(taught=BOTH, both=False, centre=centre)
        last = head.keys.model["both"][-1]
        last.bias = torch.nn.Parameter(torch.full((8,), 50.0))
        head(seen)
        baselines[centre] = head(seen).terms["views.baseline"].item()
    assert baselines[None] < 0.05
    assert baselines[0.0] > 1
